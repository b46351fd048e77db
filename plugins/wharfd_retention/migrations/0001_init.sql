-- What is being archived and deleted, step by step, and what must not be.

CREATE TABLE retention.rules (
    name         text        PRIMARY KEY,
    fingerprint  text        NOT NULL,
    seen_at      timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE retention.rules IS 'Rules as they were when they last reported: a changed one reports first.';

CREATE TABLE retention.runs (
    id           text        PRIMARY KEY,
    actor        text        NOT NULL,
    dry          boolean     NOT NULL,
    forced       boolean     NOT NULL DEFAULT false,
    state        text        NOT NULL DEFAULT 'waiting'
                 CHECK (state IN ('waiting', 'running', 'done', 'failed')),
    asked_at     timestamptz NOT NULL DEFAULT now(),
    finished_at  timestamptz,
    error        text,
    result       jsonb       NOT NULL DEFAULT '{}'
);
CREATE INDEX runs_asked_at ON retention.runs (asked_at DESC);
COMMENT ON TABLE retention.runs IS 'Every run, dry or not, and what it did rule by rule.';

-- One row per month of a table, or per lot of rows: its state is where a run that was cut short goes on.
CREATE TABLE retention.units (
    id           text        PRIMARY KEY,
    rule         text        NOT NULL,
    source       text        NOT NULL,
    part         text,
    archive      boolean     NOT NULL,
    state        text        NOT NULL DEFAULT 'planned' CHECK (state IN
                 ('planned', 'exporting', 'exported', 'verified', 'uploaded', 'detached', 'dropped')),
    cutoff       timestamptz NOT NULL,
    rows         bigint      NOT NULL DEFAULT 0,
    deleted      bigint      NOT NULL DEFAULT 0,
    first_at     timestamptz,
    last_at      timestamptz,
    manifest     jsonb,
    planned_at   timestamptz NOT NULL DEFAULT now(),
    detached_at  timestamptz,
    dropped_at   timestamptz,
    error        text
);
CREATE UNIQUE INDEX units_open ON retention.units (rule, coalesce(part, '')) WHERE state <> 'dropped';
CREATE INDEX units_rule ON retention.units (rule, planned_at DESC);
CREATE INDEX units_source ON retention.units (source, last_at);
COMMENT ON TABLE retention.units IS 'What is or was archived and deleted, with the manifest of its archive.';

CREATE TABLE retention.holds (
    id           text        PRIMARY KEY,
    source       text        NOT NULL,
    owner        text,
    key          text,
    reason       text        NOT NULL,
    made_by      text        NOT NULL,
    made_at      timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    released_at  timestamptz,
    released_by  text
);
CREATE INDEX holds_open ON retention.holds (source) WHERE released_at IS NULL;
COMMENT ON TABLE retention.holds IS 'Legal holds: the last gate of every delete.';

CREATE TABLE retention.clock (
    one          boolean     PRIMARY KEY DEFAULT true CHECK (one),
    last_seen    timestamptz NOT NULL
);
COMMENT ON TABLE retention.clock IS 'The latest time the database has told: it may not go back.';
