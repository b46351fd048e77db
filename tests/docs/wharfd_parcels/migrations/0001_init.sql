CREATE TABLE shop.parcels (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    address     text        NOT NULL,
    sent        boolean     NOT NULL DEFAULT false,
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
);
CREATE INDEX parcels_due ON shop.parcels (priority, due_at, id) WHERE state = 'ready';
CREATE INDEX parcels_running ON shop.parcels (lease_until) WHERE state = 'running';
CREATE INDEX parcels_parked ON shop.parcels (state, finished_at) WHERE state IN ('buried', 'held');

-- Bookings are worked by the handler that books and finishes in one transaction.
CREATE TABLE shop.errands (LIKE shop.parcels INCLUDING ALL);
CREATE TABLE shop.bookings (errand bigint PRIMARY KEY);

CREATE TABLE shop.orders (
    id      text        PRIMARY KEY,
    owner   text,
    amount  bigint,
    state   text        NOT NULL DEFAULT 'new',
    made_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE shop.partners (id text PRIMARY KEY, token bytea);
