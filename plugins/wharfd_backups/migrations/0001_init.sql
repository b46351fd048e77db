-- What was done: backups, verifications, drills, mounts. The backups themselves are told by the catalogue in
-- their places, which outlives this database.

CREATE TABLE backups.runs (
    id          text        PRIMARY KEY,
    kind        text        NOT NULL CHECK (kind IN ('backup', 'verify', 'drill', 'mount')),
    reason      text        NOT NULL,
    actor       text        NOT NULL,
    asked       jsonb       NOT NULL DEFAULT '{}',
    state       text        NOT NULL DEFAULT 'waiting'
                CHECK (state IN ('waiting', 'running', 'done', 'failed')),
    step        text        NOT NULL DEFAULT '',
    bytes       bigint      NOT NULL DEFAULT 0,
    asked_at    timestamptz NOT NULL DEFAULT now(),
    started_at  timestamptz,
    finished_at timestamptz,
    error       text,
    result      jsonb       NOT NULL DEFAULT '{}'
);
CREATE INDEX runs_asked_at ON backups.runs (asked_at DESC, id DESC);
CREATE INDEX runs_kind ON backups.runs (kind, asked_at DESC);
COMMENT ON TABLE backups.runs IS 'Every backup, verification, drill and mount, and how it went.';
