-- What was answered to writes that carry an Idempotency-Key. The key itself is not stored, only a keyed hash of
-- owner, method, route and key; the answer's body is sealed.
CREATE TABLE wharfd.idempotency_keys (
    scope_hash  bytea       PRIMARY KEY,
    fingerprint bytea       NOT NULL,
    state       text        NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done')),
    claim       bigint      NOT NULL,
    status      smallint,
    headers     jsonb,
    body        bytea,
    created_at  timestamptz NOT NULL DEFAULT now(),
    lease_until timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL
);

CREATE INDEX idempotency_keys_expires_at ON wharfd.idempotency_keys (expires_at);
