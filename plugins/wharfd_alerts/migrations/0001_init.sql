-- One row per rule that some daemon knows. A rule is work that never ends: evaluating it is done again at due_at.
CREATE TABLE alerts.rules (
    name         text        PRIMARY KEY,                 -- plugin.rule
    plugin       text        NOT NULL,
    rule         text        NOT NULL,
    declared_at  timestamptz NOT NULL DEFAULT now(),      -- renewed by every daemon that knows it
    evaluated_at timestamptz,
    problem      text,                                    -- why it could not be evaluated the last time
    findings     integer     NOT NULL DEFAULT 0,
    seconds      float8,

    state        text        NOT NULL DEFAULT 'ready',
    priority     smallint    NOT NULL DEFAULT 100,
    due_at       timestamptz NOT NULL DEFAULT now(),
    attempts     integer     NOT NULL DEFAULT 0,
    claim        bigint,
    lease_until  timestamptz,
    last_error   text,
    history      jsonb,
    finished_at  timestamptz
) WITH (fillfactor = 85);
CREATE INDEX rules_ready ON alerts.rules (priority, due_at) WHERE state = 'ready';
CREATE INDEX rules_running ON alerts.rules (name) WHERE state = 'running';
CREATE INDEX rules_parked ON alerts.rules (state, finished_at) WHERE state IN ('buried', 'held');

-- Every alert there is and was. At most one that is not resolved per plugin, rule and key.
CREATE TABLE alerts.alerts (
    id              text        PRIMARY KEY,
    plugin          text        NOT NULL,
    rule            text        NOT NULL,
    key             text        NOT NULL,
    status          text        NOT NULL CHECK (status IN ('pending', 'firing', 'resolved')),
    severity        text        NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    summary         text        NOT NULL,
    message         text        NOT NULL,
    value           float8,
    runbook         text        NOT NULL DEFAULT '',
    started_at      timestamptz NOT NULL,
    fired_at        timestamptz,
    last_found_at   timestamptz NOT NULL,
    clear_since     timestamptz,
    resolved_at     timestamptz,
    notified_at     timestamptz,
    acknowledged_at timestamptz,
    acknowledged_by text,
    note            text
);
CREATE UNIQUE INDEX alerts_open ON alerts.alerts (plugin, rule, key) WHERE status <> 'resolved';
CREATE INDEX alerts_by_start ON alerts.alerts (started_at DESC, id DESC);
CREATE INDEX alerts_by_rule ON alerts.alerts (plugin, rule, started_at DESC, id DESC);
CREATE INDEX alerts_resolved ON alerts.alerts (resolved_at) WHERE status = 'resolved';

-- What happened to an alert, one line each.
CREATE TABLE alerts.transitions (
    id       bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alert_id text        NOT NULL REFERENCES alerts.alerts (id) ON DELETE CASCADE,
    at       timestamptz NOT NULL DEFAULT now(),
    what     text        NOT NULL,
    actor    text        NOT NULL,
    note     text
);
CREATE INDEX transitions_of_alert ON alerts.transitions (alert_id, id);

CREATE TABLE alerts.silences (
    id         text        PRIMARY KEY,
    plugin     text        NOT NULL,      -- shell patterns: * and ?
    rule       text        NOT NULL,
    key        text        NOT NULL,
    reason     text        NOT NULL,
    starts_at  timestamptz NOT NULL,
    ends_at    timestamptz NOT NULL CHECK (ends_at > starts_at),
    created_by text        NOT NULL,
    ended_by   text
);
CREATE INDEX silences_by_end ON alerts.silences (ends_at DESC, id DESC);

-- Notices to be sent: work, so that a mail server that is away loses nothing.
CREATE TABLE alerts.notices (
    id          text        PRIMARY KEY,
    alert_id    text        NOT NULL REFERENCES alerts.alerts (id) ON DELETE CASCADE,
    channel     text        NOT NULL,
    kind        text        NOT NULL CHECK (kind IN ('fired', 'still', 'resolved')),
    created_at  timestamptz NOT NULL DEFAULT now(),

    state       text        NOT NULL DEFAULT 'ready',
    priority    smallint    NOT NULL DEFAULT 100,
    due_at      timestamptz NOT NULL DEFAULT now(),
    attempts    integer     NOT NULL DEFAULT 0,
    claim       bigint,
    lease_until timestamptz,
    last_error  text,
    history     jsonb,
    finished_at timestamptz
) WITH (fillfactor = 85);
CREATE INDEX notices_ready ON alerts.notices (alert_id) WHERE state = 'ready';
CREATE INDEX notices_order ON alerts.notices (alert_id, id) WHERE state IN ('ready', 'running', 'held');
CREATE INDEX notices_running ON alerts.notices (id) WHERE state = 'running';
CREATE INDEX notices_parked ON alerts.notices (state, finished_at) WHERE state IN ('buried', 'held');
CREATE INDEX notices_of_alert ON alerts.notices (alert_id);

-- What each daemon sees of itself, newest only: rules are evaluated on one daemon and must see all of them.
CREATE TABLE alerts.nodes (
    node     text        PRIMARY KEY,
    at       timestamptz NOT NULL DEFAULT now(),
    readings jsonb       NOT NULL
) WITH (fillfactor = 50);
