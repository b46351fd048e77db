-- What providers sent, what tells duplicates, and what followed from it: transactions, accounts, roll-ups.

-- One row per accepted event. The row is its own job (the work columns at the end). received_at is the
-- database's clock at the commit, so the partition it needs always exists; the listener's two clocks stand in
-- the receipt, with everything else about the delivery that nobody searches by: headers, path, sender, verdict.
CREATE TABLE events (
    id           text        NOT NULL,
    received_at  timestamptz NOT NULL DEFAULT now(),
    source       text        NOT NULL,
    owner        text,
    trace_id     text        NOT NULL,
    identity     bytea       NOT NULL,
    content      bytea       NOT NULL,
    name         text        NOT NULL,
    resource_id  text,
    merchant_ref text,
    receipt      json        NOT NULL,
    body         bytea       NOT NULL,
    state        text        NOT NULL DEFAULT 'ready',
    priority     smallint    NOT NULL DEFAULT 100,
    due_at       timestamptz NOT NULL DEFAULT now(),
    attempts     integer     NOT NULL DEFAULT 0,
    claim        bigint,
    lease_until  timestamptz,
    last_error   text,
    history      jsonb,
    finished_at  timestamptz,
    PRIMARY KEY (id, received_at)
) PARTITION BY RANGE (received_at);
-- Ids sort by time, so the primary key serves the newest-first list. Every further index costs three entries
-- per event (it arrives, is claimed, is done): there is one per question that is really asked, and that by
-- source and name answers for the source alone as well, by going from one name to the next.
CREATE INDEX events_ready ON events (priority, due_at) WHERE state = 'ready';
CREATE INDEX events_running ON events (id) WHERE state = 'running';
CREATE INDEX events_parked ON events (state, finished_at) WHERE state IN ('buried', 'held');
CREATE INDEX events_name ON events (source, name, id);
CREATE INDEX events_resource ON events (resource_id, id) WHERE resource_id IS NOT NULL;
CREATE INDEX events_merchant_ref ON events (merchant_ref, id) WHERE merchant_ref IS NOT NULL;
CREATE INDEX events_owner ON events (owner, id) WHERE owner IS NOT NULL;
COMMENT ON TABLE events IS 'Accepted webhook events, verbatim, each row its own job.';

-- What tells duplicates. A unique key cannot span monthly partitions, and must outlive them: so it is a table
-- of its own, written in the same statement as the event, with its own horizon.
CREATE TABLE dedup (
    identity     bytea       PRIMARY KEY,
    event_id     text        NOT NULL,
    received_at  timestamptz NOT NULL DEFAULT now(),
    content      bytea       NOT NULL,
    copies       integer     NOT NULL DEFAULT 1,
    last_seen_at timestamptz
) WITH (fillfactor = 90);
CREATE INDEX dedup_received_at ON dedup (received_at);
COMMENT ON TABLE dedup IS 'The identity of every event, for longer than the event itself is kept.';

-- The same identity with another body: the first is in events, the other ones are here.
CREATE TABLE conflicts (
    id                text        PRIMARY KEY,
    noticed_at        timestamptz NOT NULL DEFAULT now(),
    source            text        NOT NULL,
    owner             text,
    identity          bytea       NOT NULL,
    content           bytea       NOT NULL,
    event_id          text        NOT NULL,
    event_received_at timestamptz NOT NULL,
    receipt           json        NOT NULL,
    body              bytea       NOT NULL,
    resolved_at       timestamptz,
    resolved_by       text,
    UNIQUE (identity, content)
);
CREATE INDEX conflicts_open ON conflicts (noticed_at DESC) WHERE resolved_at IS NULL;
CREATE INDEX conflicts_noticed_at ON conflicts (noticed_at);
CREATE INDEX conflicts_event ON conflicts (event_id);
COMMENT ON TABLE conflicts IS 'Deliveries with the identity of an earlier event and another content.';

-- Refused deliveries: counted by minute, never kept. The sample is of the minute's first, without body.
CREATE TABLE refusals (
    minute   timestamptz NOT NULL,
    source   text        NOT NULL,
    reason   text        NOT NULL,
    count    bigint      NOT NULL,
    sample   jsonb       NOT NULL,
    PRIMARY KEY (minute, source, reason)
);
COMMENT ON TABLE refusals IS 'How many deliveries were refused per minute, source and reason.';

CREATE TABLE transactions (
    id                text        PRIMARY KEY,
    source            text        NOT NULL,
    type              text        NOT NULL,
    external_id       text        NOT NULL,
    owner             text,
    created_at        timestamptz NOT NULL,
    updated_at        timestamptz NOT NULL DEFAULT now(),
    status            text,
    status_at         timestamptz,
    amount            bigint,
    currency          text,
    merchant_ref      text,
    method            text,
    description       text,
    account_id        text,
    parent_id         text,
    settlement_status text,
    reason            text        NOT NULL DEFAULT '',
    mode              text,
    stamps            jsonb       NOT NULL DEFAULT '{}',
    metadata          jsonb       NOT NULL DEFAULT '{}',
    event_id          text        NOT NULL,
    reconciled_at     timestamptz,
    UNIQUE (external_id, source, type)
);
CREATE INDEX transactions_created_at ON transactions (created_at DESC, id DESC);
CREATE INDEX transactions_status ON transactions (status, created_at DESC, id DESC);
CREATE INDEX transactions_currency ON transactions (currency, created_at DESC, id DESC);
CREATE INDEX transactions_method ON transactions (method, created_at DESC, id DESC);
CREATE INDEX transactions_merchant_ref ON transactions (merchant_ref) WHERE merchant_ref IS NOT NULL;
CREATE INDEX transactions_parent ON transactions (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX transactions_account ON transactions (account_id, created_at DESC, id DESC)
    WHERE account_id IS NOT NULL;
CREATE INDEX transactions_owner ON transactions (owner, created_at DESC, id DESC) WHERE owner IS NOT NULL;
CREATE INDEX transactions_owner_status ON transactions (owner, status, created_at DESC, id DESC)
    WHERE owner IS NOT NULL;
CREATE INDEX transactions_open ON transactions (created_at)
    WHERE status IN ('RECEIVED', 'PENDING', 'PROCESSING', 'HELD');
COMMENT ON TABLE transactions IS 'Payments, refunds, payouts and settlements; amounts in minor units.';

CREATE TABLE accounts (
    id            text        PRIMARY KEY,
    source        text        NOT NULL,
    external_id   text        NOT NULL,
    owner         text,
    first_seen_at timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL DEFAULT now(),
    status        text,
    status_at     timestamptz,
    stage         text,
    approved_at   timestamptz,
    activated_at  timestamptz,
    merchant_id   text,
    account_name  text,
    business_name text,
    email         text,
    phone         text,
    sub_status    text,
    mode          text,
    stamps        jsonb       NOT NULL DEFAULT '{}',
    metadata      jsonb       NOT NULL DEFAULT '{}',
    event_id      text        NOT NULL,
    UNIQUE (external_id, source)
);
CREATE INDEX accounts_first_seen ON accounts (first_seen_at DESC, id DESC);
CREATE INDEX accounts_status ON accounts (status, first_seen_at DESC, id DESC);
CREATE INDEX accounts_stage ON accounts (stage, first_seen_at DESC, id DESC);
CREATE INDEX accounts_owner ON accounts (owner, first_seen_at DESC, id DESC) WHERE owner IS NOT NULL;
COMMENT ON TABLE accounts IS 'Merchant accounts as known from account events.';

CREATE TABLE account_status_history (
    account_id text        NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    identity   bytea       NOT NULL,
    at         timestamptz NOT NULL,
    status     text        NOT NULL,
    sub_status text,
    reason     text,
    mark       text        NOT NULL,
    event_id   text        NOT NULL,
    PRIMARY KEY (account_id, identity)
);
COMMENT ON TABLE account_status_history IS 'Every status an account was reported in; ordered by mark when read.';

CREATE TABLE payment_methods (
    account_id  text        NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    type        text        NOT NULL,
    external_id text        NOT NULL,
    added_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, type, external_id)
);
COMMENT ON TABLE payment_methods IS 'Ways to pay or be paid that an account has.';

-- Transactions counted as they change, per minute, hour and day of their creation: analytics never scan them.
-- A batch adds its differences to one of a few shards, so that batches do not wait for each other. Grain
-- 'all' has one bucket, 1970; type 'EVENT' counts worked events by source, which stands in place of the method.
CREATE TABLE rollups (
    grain    text        NOT NULL,
    bucket   timestamptz NOT NULL,
    owner    text        NOT NULL DEFAULT '',
    type     text        NOT NULL,
    status   text        NOT NULL,
    currency text        NOT NULL,
    method   text        NOT NULL,
    shard    smallint    NOT NULL,
    count    bigint      NOT NULL,
    amount   numeric     NOT NULL,
    PRIMARY KEY (grain, bucket, owner, type, status, currency, method, shard)
) WITH (fillfactor = 70);
COMMENT ON TABLE rollups IS 'Counts and sums of transactions by time of creation; owner is empty for the house.';

CREATE TABLE secrets (
    id           text        PRIMARY KEY,
    source       text        NOT NULL,
    owner        text,
    name         text        NOT NULL,
    description  text        NOT NULL DEFAULT '',
    key_encoding text        NOT NULL,
    sealed       bytea       NOT NULL,
    fingerprint  text        NOT NULL,
    version      integer     NOT NULL DEFAULT 1,
    active       boolean     NOT NULL DEFAULT true,
    valid_from   timestamptz,
    valid_until  timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    created_by   text        NOT NULL,
    last_used_at timestamptz,
    use_count    bigint      NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX secrets_name ON secrets (source, name, version);
COMMENT ON TABLE secrets IS 'Keys of sources managed by API and CLI; sealed, never readable in a dump.';
