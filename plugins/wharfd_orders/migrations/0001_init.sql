-- Batches of orders, their rows (which are work), and the ledger.

CREATE TABLE batches (
    number          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id              text NOT NULL UNIQUE,
    owner           text NOT NULL,                  -- '' is the house
    label           text,
    executor        text NOT NULL,
    lane            text NOT NULL,
    priority        smallint NOT NULL DEFAULT 100,
    total           integer NOT NULL,
    amounts         jsonb NOT NULL DEFAULT '{}',    -- minor units by currency, of the rows that were accepted
    options         jsonb NOT NULL DEFAULT '{}',
    source          jsonb NOT NULL DEFAULT '{}',    -- format, encoding, delimiter, columns, bytes
    content_sha256  bytea NOT NULL,
    created_by      text NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    started_at      timestamptz,                    -- first order taken up
    finished_at     timestamptz,                    -- announced as finished; empty again while failed ones are retried
    needs_approval  boolean NOT NULL DEFAULT false,
    approved_by     text,
    approved_at     timestamptz,
    paused_by       text,
    paused_at       timestamptz,
    cancelled_by    text,
    cancelled_at    timestamptz,
    cancel_reason   text,
    start_at        timestamptz,
    max_per_second  real,                           -- NULL: as fast as it goes
    released_at     timestamptz,                    -- last time rows were let go under max_per_second
    stop_on_error   boolean NOT NULL DEFAULT false
);
CREATE INDEX batches_by_owner ON batches (owner, number DESC);
CREATE INDEX batches_unfinished ON batches (number) WHERE finished_at IS NULL;
CREATE INDEX batches_finished ON batches (finished_at);

-- One row per order. It is its own job. No foreign key to batches: a batch is only ever removed after its rows,
-- and a million checks would cost more than the load.
CREATE TABLE items (
    batch        bigint NOT NULL,
    idx          integer NOT NULL,                  -- 0, 1, 2 … as in the file
    line         integer NOT NULL,                  -- where a person finds it in the file
    owner        text NOT NULL,
    lane         text NOT NULL,
    share        text NOT NULL,                     -- who shares the workers: the owner, or in a fifo lane the account
    client_ref   text,
    account      text,
    currency     text,
    amount       bigint,
    payload      jsonb NOT NULL,                    -- the order in its normal form; a row that is wrong as it came
    fingerprint  bytea,
    code         text,                              -- why it was skipped or is a duplicate
    same_batch   bigint,                            -- the order that this one is a duplicate of
    same_idx     integer,
    sent_at      timestamptz,                       -- an external executor was about to be called
    answer       jsonb,                             -- what it last answered: status, timings, request id
    state        text NOT NULL DEFAULT 'ready' CHECK (state IN ('waiting', 'ready', 'running', 'done', 'buried',
                     'held', 'cancelled', 'skipped', 'duplicate')),
    priority     smallint NOT NULL DEFAULT 100,
    due_at       timestamptz NOT NULL DEFAULT now(),
    attempts     integer NOT NULL DEFAULT 0,
    claim        bigint,
    lease_until  timestamptz,
    last_error   text,
    history      jsonb,
    finished_at  timestamptz,
    PRIMARY KEY (batch, idx)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.1,
        autovacuum_analyze_scale_factor = 0.05);
CREATE INDEX items_ready ON items (lane, share, priority, due_at) WHERE state = 'ready';
CREATE INDEX items_order ON items (lane, share, batch, idx) WHERE state IN ('ready', 'running', 'held', 'buried');
CREATE INDEX items_running ON items (batch) WHERE state = 'running';
CREATE INDEX items_parked ON items (lane, state, finished_at) WHERE state IN ('buried', 'held');
CREATE INDEX items_waiting ON items (batch, idx) WHERE state = 'waiting';
CREATE INDEX items_unsuccessful ON items (batch, idx)
    WHERE state IN ('buried', 'skipped', 'cancelled', 'duplicate', 'held');

-- How many rows of a batch are in which state, as differences. The triggers below write it in the statement that
-- changes the rows, whoever runs it, so it is the rows, counted; no code can forget to keep it.
CREATE TABLE tally (
    batch  bigint NOT NULL,
    state  text NOT NULL,
    rows   bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
CREATE INDEX tally_batch ON tally (batch) INCLUDE (state, rows);

CREATE FUNCTION count_new_items() RETURNS trigger LANGUAGE plpgsql SET search_path = orders, pg_temp AS $$
BEGIN
    INSERT INTO orders.tally (batch, state, rows) SELECT batch, state, count(*) FROM fresh GROUP BY batch, state;
    RETURN NULL;
END $$;
CREATE FUNCTION count_changed_items() RETURNS trigger LANGUAGE plpgsql SET search_path = orders, pg_temp AS $$
BEGIN
    INSERT INTO orders.tally (batch, state, rows)
    SELECT batch, state, sum(n) FROM (
        SELECT batch, state, 1 AS n FROM fresh UNION ALL SELECT batch, state, -1 FROM stale) changed
    GROUP BY batch, state HAVING sum(n) <> 0;
    RETURN NULL;
END $$;
CREATE TRIGGER items_inserted AFTER INSERT ON items
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION count_new_items();
CREATE TRIGGER items_updated AFTER UPDATE ON items
    REFERENCING NEW TABLE AS fresh OLD TABLE AS stale FOR EACH STATEMENT EXECUTE FUNCTION count_changed_items();

-- Which order has a client's reference.
CREATE TABLE refs (
    owner        text NOT NULL,
    client_ref   text NOT NULL,
    batch        bigint NOT NULL,
    idx          integer NOT NULL,
    fingerprint  bytea NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner, client_ref)
);
CREATE INDEX refs_created ON refs (created_at);

-- The ledger: one row per order that was carried out.
CREATE TABLE orders (
    id           text PRIMARY KEY,
    owner        text NOT NULL,
    batch        bigint NOT NULL,
    idx          integer NOT NULL,
    client_ref   text,
    account      text,
    currency     text NOT NULL,
    amount       bigint NOT NULL,
    executor     text NOT NULL,
    external_id  text,
    payload      jsonb NOT NULL,
    result       jsonb,
    created_at   timestamptz NOT NULL DEFAULT now(),
    UNIQUE (batch, idx)
);
CREATE UNIQUE INDEX orders_by_ref ON orders (owner, client_ref) WHERE client_ref IS NOT NULL;
CREATE INDEX orders_by_owner ON orders (owner, id);
CREATE INDEX orders_by_account ON orders (owner, account, id) WHERE account IS NOT NULL;

-- Idempotency-Key of an upload. The body is known only when all of it was read, so this is not the core's table.
CREATE TABLE keys (
    owner         text NOT NULL,
    key           text NOT NULL,
    claim         bigint NOT NULL,
    lease_until   timestamptz NOT NULL,
    fingerprint   bytea,
    batch         bigint,
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner, key)
);
CREATE INDEX keys_created ON keys (created_at);
