-- A person's word about a token that no known transaction of ours made, for contracts that cannot be asked.
CREATE TABLE mint.claims (
    tx_hash    text        PRIMARY KEY CHECK (tx_hash ~ '^0x[0-9a-f]{64}$'),
    license_id text,                       -- whose token it made; null: that of no license here
    said_by    text        NOT NULL,
    said_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX claims_license_id_idx ON mint.claims (license_id) WHERE license_id IS NOT NULL;
CREATE INDEX intents_tx_hash_idx ON mint.intents (lower(tx_hash)) WHERE tx_hash IS NOT NULL;
