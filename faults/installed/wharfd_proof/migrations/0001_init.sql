-- Entries are what was delivered, and work. Effects and heard have no unique key on purpose:
-- what happens twice must show up as two rows, not as an error.
CREATE TABLE entries (
    id          text        PRIMARY KEY,
    kind        text        NOT NULL CHECK (kind IN ('single', 'batch')),
    stored_at   timestamptz NOT NULL DEFAULT now(),

    state       text        NOT NULL DEFAULT 'ready'
                CHECK (state IN ('ready', 'running', 'done', 'buried', 'held', 'cancelled')),
    priority    smallint    NOT NULL DEFAULT 100,
    due_at      timestamptz NOT NULL DEFAULT now(),
    attempts    integer     NOT NULL DEFAULT 0,
    claim       bigint,
    lease_until timestamptz,
    last_error  text,
    history     jsonb,
    finished_at timestamptz
) WITH (
    fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,
    autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX entries_ready ON entries (kind, priority, due_at) WHERE state = 'ready';
CREATE INDEX entries_running ON entries (kind, id) WHERE state = 'running';
CREATE INDEX entries_parked ON entries (kind, state, finished_at) WHERE state IN ('buried', 'held');

CREATE TABLE effects (
    entry      text        NOT NULL,
    node       text        NOT NULL,
    written_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX effects_entry ON effects (entry);

CREATE TABLE heard (
    entry text NOT NULL
);
CREATE INDEX heard_entry ON heard (entry);

CREATE TABLE ticks (
    at timestamptz NOT NULL DEFAULT now()
);
