-- The work engine's own tables: events and their inbox, one-off jobs, schedules, and what is known per queue.

CREATE TABLE wharfd.paused_queues (
    queue     text        PRIMARY KEY,
    paused_at timestamptz NOT NULL DEFAULT now(),
    actor     text        NOT NULL
);
COMMENT ON TABLE wharfd.paused_queues IS 'Work queues (plugin.queue) that no daemon claims from.';

CREATE TABLE wharfd.queue_rates (
    queue   text        NOT NULL,
    minute  timestamptz NOT NULL,
    arrived bigint      NOT NULL DEFAULT 0,
    started bigint      NOT NULL DEFAULT 0,
    done    bigint      NOT NULL DEFAULT 0,
    retried bigint      NOT NULL DEFAULT 0,
    buried  bigint      NOT NULL DEFAULT 0,
    lost    bigint      NOT NULL DEFAULT 0,
    PRIMARY KEY (queue, minute)
) WITH (fillfactor = 70);
CREATE INDEX queue_rates_minute ON wharfd.queue_rates (minute);
COMMENT ON TABLE wharfd.queue_rates IS 'What all daemons together did per queue and minute.';

-- Events. The app role only adds; whole months are dropped by retention.
CREATE TABLE wharfd.events (
    id           text        NOT NULL,
    published_at timestamptz NOT NULL DEFAULT now(),
    type         text        NOT NULL,
    version      smallint    NOT NULL,
    publisher    text        NOT NULL,
    owner        text,
    subject      text        NOT NULL DEFAULT '',
    trace_id     text,
    data         jsonb       NOT NULL,
    PRIMARY KEY (id, published_at)
) PARTITION BY RANGE (published_at);
CREATE INDEX events_type ON wharfd.events (type, published_at DESC);
CREATE INDEX events_subject ON wharfd.events (subject, published_at DESC) WHERE subject <> '';
COMMENT ON TABLE wharfd.events IS 'Every domain event, written in the transaction of the fact it tells of.';

CREATE TABLE wharfd.subscriptions (
    subscriber  text        NOT NULL,
    pattern     text        NOT NULL,
    declared_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (subscriber, pattern)
);
COMMENT ON TABLE wharfd.subscriptions IS
    'Who hears what, as the running daemons declare it; what nobody declared for a week hears nothing more.';

-- One row per event and subscriber. event_at is the event's partition.
CREATE TABLE wharfd.inbox (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscriber  text        NOT NULL,
    event_id    text        NOT NULL,
    event_at    timestamptz NOT NULL,
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
CREATE INDEX inbox_ready ON wharfd.inbox (subscriber, priority, due_at) WHERE state = 'ready';
CREATE INDEX inbox_running ON wharfd.inbox (subscriber, id) WHERE state = 'running';
CREATE INDEX inbox_parked ON wharfd.inbox (subscriber, state, finished_at) WHERE state IN ('buried', 'held');
COMMENT ON TABLE wharfd.inbox IS 'Events that a subscriber has not handled yet; a handled row is deleted.';

CREATE TABLE wharfd.jobs (
    id          text        PRIMARY KEY,
    kind        text        NOT NULL,
    args        jsonb       NOT NULL,
    unique_key  text,
    created_at  timestamptz NOT NULL DEFAULT now(),
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
CREATE INDEX jobs_ready ON wharfd.jobs (kind, priority, due_at) WHERE state = 'ready';
CREATE INDEX jobs_running ON wharfd.jobs (kind, id) WHERE state = 'running';
CREATE INDEX jobs_parked ON wharfd.jobs (kind, state, finished_at) WHERE state IN ('buried', 'held');
CREATE UNIQUE INDEX jobs_unique ON wharfd.jobs (kind, unique_key)
    WHERE unique_key IS NOT NULL AND state IN ('ready', 'running', 'held');
COMMENT ON TABLE wharfd.jobs IS 'One-off jobs; kind is plugin.job.';

-- Schedules are work rows that are done again and again: due_at is the next time.
CREATE TABLE wharfd.schedules (
    name          text        PRIMARY KEY,
    plugin        text        NOT NULL,
    definition    text        NOT NULL,
    planned_at    timestamptz NOT NULL,
    by_hand       boolean     NOT NULL DEFAULT false,
    last_fired_at timestamptz,
    absent_since  timestamptz,
    state         text        NOT NULL DEFAULT 'ready'
                  CHECK (state IN ('ready', 'running', 'done', 'buried', 'held', 'cancelled')),
    priority      smallint    NOT NULL DEFAULT 100,
    due_at        timestamptz NOT NULL DEFAULT now(),
    attempts      integer     NOT NULL DEFAULT 0,
    claim         bigint,
    lease_until   timestamptz,
    last_error    text,
    history       jsonb,
    finished_at   timestamptz
);
CREATE INDEX schedules_ready ON wharfd.schedules (plugin, priority, due_at) WHERE state = 'ready';
CREATE INDEX schedules_running ON wharfd.schedules (plugin, name) WHERE state = 'running';
CREATE INDEX schedules_parked ON wharfd.schedules (plugin, state, finished_at) WHERE state IN ('buried', 'held');
COMMENT ON TABLE wharfd.schedules IS 'What is done again and again; planned_at is the next time without jitter.';

CREATE TABLE wharfd.schedule_runs (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    schedule    text        NOT NULL,
    planned_at  timestamptz NOT NULL,
    by_hand     boolean     NOT NULL,
    node        text        NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    outcome     text        NOT NULL DEFAULT 'running'
                CHECK (outcome IN ('running', 'done', 'failed', 'interrupted', 'lost')),
    error       text
);
CREATE INDEX schedule_runs_latest ON wharfd.schedule_runs (schedule, started_at DESC);
CREATE INDEX schedule_runs_open ON wharfd.schedule_runs (schedule) WHERE outcome = 'running';
COMMENT ON TABLE wharfd.schedule_runs IS 'Every firing of a schedule, on which node, and how it ended.';
