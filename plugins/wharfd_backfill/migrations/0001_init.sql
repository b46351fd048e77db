-- Jobs that work through a range of blocks somewhere else and report here.
CREATE TABLE jobs (
    id                    uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    owner                 text NOT NULL,             -- '' is the house
    job_type              text NOT NULL,
    start_block           bigint NOT NULL,
    end_block             bigint NOT NULL,
    current_block         bigint NOT NULL,
    status                text NOT NULL DEFAULT 'running'
                              CHECK (status IN ('running', 'completed', 'failed', 'paused')),
    progress_percentage   double precision NOT NULL DEFAULT 0 CHECK (progress_percentage BETWEEN 0 AND 100),
    blocks_per_second     double precision,          -- smoothed over the reports
    estimated_completion  timestamptz,
    error_message         text,
    created_by            text,
    version               integer NOT NULL DEFAULT 1,
    started_at            timestamptz NOT NULL DEFAULT now(),
    updated_at            timestamptz NOT NULL DEFAULT now(),
    reported_at           timestamptz NOT NULL DEFAULT now(),
    completed_at          timestamptz,
    CHECK (start_block <= end_block AND current_block BETWEEN start_block AND end_block)
);
CREATE INDEX jobs_by_date ON jobs (started_at DESC, id DESC);
CREATE INDEX jobs_by_status ON jobs (status, started_at DESC, id DESC);
CREATE INDEX jobs_by_type ON jobs (job_type, started_at DESC, id DESC);
CREATE INDEX jobs_by_owner ON jobs (owner, started_at DESC, id DESC);
CREATE INDEX jobs_by_owner_status ON jobs (owner, status, started_at DESC, id DESC);
CREATE INDEX jobs_running ON jobs (reported_at) WHERE status = 'running';
CREATE INDEX jobs_over ON jobs (updated_at) WHERE status IN ('completed', 'failed');
