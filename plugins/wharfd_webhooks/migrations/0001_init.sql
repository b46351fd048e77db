-- Endpoints, what was published, and what was sent to whom. Rows of `deliveries` are work.

CREATE TABLE webhooks.endpoints (
    id               text        PRIMARY KEY CHECK (id LIKE 'wh\_%'),
    owner            text,
    url              text        NOT NULL,
    description      text        NOT NULL DEFAULT '',
    events           text[]      NOT NULL CHECK (cardinality(events) > 0),
    filter           jsonb,
    headers          bytea,
    legacy           text        NOT NULL DEFAULT 'none' CHECK (legacy IN ('none', 'x-webhook')),
    transform        text,
    order_by         text,
    order_failed     text        NOT NULL DEFAULT 'block' CHECK (order_failed IN ('block', 'skip')),
    at_most_once     boolean     NOT NULL DEFAULT false,
    max_in_flight    smallint    NOT NULL CHECK (max_in_flight > 0),
    rate_per_second  double precision CHECK (rate_per_second > 0),
    timeout_seconds  double precision CHECK (timeout_seconds > 0),
    status           text        NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'paused', 'disabled', 'deleted')),
    status_reason    text        NOT NULL DEFAULT '',
    status_at        timestamptz NOT NULL DEFAULT now(),
    version          integer     NOT NULL DEFAULT 1,
    failure_count    integer     NOT NULL DEFAULT 0,
    first_failed_at  timestamptz,
    breaker_opened   integer     NOT NULL DEFAULT 0,
    breaker_until    timestamptz,
    warned           smallint    NOT NULL DEFAULT 0,
    last_triggered_at timestamptz,
    last_success_at  timestamptz,
    last_status      smallint,
    last_error       text,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 70);
CREATE INDEX endpoints_owner ON webhooks.endpoints (owner, id);
CREATE INDEX endpoints_events ON webhooks.endpoints USING gin (events);
COMMENT ON COLUMN webhooks.endpoints.headers IS 'Custom headers as JSON, sealed: they may hold tokens.';
COMMENT ON TABLE webhooks.endpoints IS
    'Who is told what. version moves with everything a sender has to know; counters do not move it.';

CREATE TABLE webhooks.secrets (
    id          text        PRIMARY KEY CHECK (id LIKE 'sec\_%'),
    endpoint_id text        NOT NULL REFERENCES webhooks.endpoints,
    kind        text        NOT NULL CHECK (kind IN ('v1', 'v1a')),
    sealed      bytea       NOT NULL,
    public_key  text,
    hint        text        NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz
);
CREATE INDEX secrets_endpoint ON webhooks.secrets (endpoint_id, created_at DESC);
COMMENT ON TABLE webhooks.secrets IS 'Signing keys, sealed; several of one endpoint sign while they overlap.';

CREATE TABLE webhooks.event_types (
    type        text        NOT NULL,
    owner       text        NOT NULL DEFAULT '',
    description text        NOT NULL DEFAULT '',
    schema      jsonb,
    deprecated  boolean     NOT NULL DEFAULT false,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (type, owner)
);
CREATE INDEX event_types_owner ON webhooks.event_types (owner, type);
COMMENT ON TABLE webhooks.event_types IS 'Event types that callers defined themselves; owner empty: the house''s.';

CREATE TABLE webhooks.messages (
    id         text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    type       text        NOT NULL,
    owner      text,
    source     text        NOT NULL CHECK (source IN ('event', 'operational', 'api', 'test')),
    subject    text        NOT NULL DEFAULT '',
    trace_id   text,
    body       bytea       NOT NULL,
    PRIMARY KEY (id, created_at)
) PARTITION BY RANGE (created_at);
CREATE INDEX messages_created ON webhooks.messages (created_at, id);
CREATE INDEX messages_owner ON webhooks.messages (owner, created_at);
CREATE INDEX messages_trace ON webhooks.messages (trace_id) WHERE trace_id IS NOT NULL;
COMMENT ON TABLE webhooks.messages IS 'One row per event, with the bytes that are signed and sent.';

CREATE TABLE webhooks.deliveries (
    id          text        NOT NULL CHECK (id LIKE 'dlv\_%'),
    created_at  timestamptz NOT NULL DEFAULT now(),
    endpoint_id text        NOT NULL,
    message_id  text        NOT NULL,
    message_at  timestamptz NOT NULL,
    type        text        NOT NULL,
    lane        text        NOT NULL DEFAULT 'free' CHECK (lane IN ('free', 'ordered', 'skipping')),
    order_key   text        NOT NULL,
    trigger     text        NOT NULL DEFAULT 'event' CHECK (trigger IN ('event', 'retry', 'resend', 'recovery', 'test')),
    budget      smallint,
    resume      jsonb,
    known       integer     NOT NULL DEFAULT 0,
    state       text        NOT NULL DEFAULT 'ready'
                CHECK (state IN ('ready', 'running', 'done', 'buried', 'held', 'cancelled')),
    priority    smallint    NOT NULL DEFAULT 100,
    due_at      timestamptz NOT NULL DEFAULT now(),
    attempts    integer     NOT NULL DEFAULT 0,
    claim       bigint,
    lease_until timestamptz,
    last_error  text,
    history     jsonb,
    finished_at timestamptz,
    PRIMARY KEY (id, created_at)
) PARTITION BY RANGE (created_at);
-- In the free lane order_key is the endpoint, so one index serves the fair claim of all lanes.
CREATE INDEX deliveries_ready ON webhooks.deliveries (lane, order_key, priority, due_at) WHERE state = 'ready';
CREATE INDEX deliveries_order ON webhooks.deliveries (lane, order_key, id, created_at)
    WHERE state IN ('ready', 'running', 'held', 'buried');
CREATE INDEX deliveries_parked ON webhooks.deliveries (lane, state, finished_at) WHERE state IN ('buried', 'held');
CREATE INDEX deliveries_endpoint ON webhooks.deliveries (endpoint_id, id);
CREATE INDEX deliveries_unfinished ON webhooks.deliveries (endpoint_id, state, id)
    WHERE state IN ('ready', 'running', 'held', 'buried');
CREATE INDEX deliveries_message ON webhooks.deliveries (message_id, endpoint_id);
COMMENT ON TABLE webhooks.deliveries IS
    'One row per message and endpoint; it is its own job. held is parked, buried is failed.';

-- Written before the send and finished after it; in the month of its delivery, so that the number is unique.
CREATE TABLE webhooks.attempts (
    delivery_id   text        NOT NULL,
    delivery_at   timestamptz NOT NULL,
    number        integer     NOT NULL,
    claim         bigint      NOT NULL,
    trigger       text        NOT NULL,
    started_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at   timestamptz,
    outcome       text        NOT NULL DEFAULT 'started'
                  CHECK (outcome IN ('started', 'delivered', 'failed', 'unknown')),
    status        smallint,
    duration_ms   integer,
    error_kind    text,
    error         text,
    request_sent  text,
    response_body text,
    PRIMARY KEY (delivery_id, number, delivery_at)
) PARTITION BY RANGE (delivery_at);
COMMENT ON TABLE webhooks.attempts IS
    'Every send. started without an end means that wharfd died meanwhile: the outcome is unknown.';

CREATE TABLE webhooks.recoveries (
    id          text        PRIMARY KEY CHECK (id LIKE 'rec\_%'),
    endpoint_id text        NOT NULL REFERENCES webhooks.endpoints,
    owner       text,
    since       timestamptz NOT NULL,
    until       timestamptz NOT NULL,
    include     text[]      NOT NULL,
    per_second  double precision NOT NULL CHECK (per_second > 0),
    state       text        NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done', 'cancelled')),
    total       bigint      NOT NULL,
    looked_at   bigint      NOT NULL DEFAULT 0,
    scheduled   bigint      NOT NULL DEFAULT 0,
    position    jsonb,
    actor       text        NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
CREATE INDEX recoveries_endpoint ON webhooks.recoveries (endpoint_id, id DESC);
COMMENT ON TABLE webhooks.recoveries IS 'Bulk recovery of an endpoint since a time, with its progress.';
