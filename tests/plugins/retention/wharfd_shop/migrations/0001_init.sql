CREATE TABLE shop.events (
    id bigint NOT NULL, at timestamptz NOT NULL, owner text, raw bytea, price numeric, data jsonb,
    PRIMARY KEY (at, id)
) PARTITION BY RANGE (at);
CREATE TABLE shop.notes (id bigint PRIMARY KEY, made_at timestamptz NOT NULL, owner text, words text);
CREATE INDEX notes_made_at ON shop.notes (made_at);
CREATE TABLE shop.pings (at timestamptz NOT NULL, n integer NOT NULL, PRIMARY KEY (at, n));
CREATE TABLE shop.jobs (
    id bigint PRIMARY KEY, state text NOT NULL, lease_until timestamptz, due_at timestamptz NOT NULL
);
