-- The keys of sealed secrets, and the audit log with its chain of hashes.

CREATE TABLE wharfd.data_keys (
    id            bigint      PRIMARY KEY CHECK (id > 0),
    purpose       text        NOT NULL,
    kind          text        NOT NULL CHECK (kind IN ('seal', 'index')),
    kek_id        text        NOT NULL,
    wrapped       bytea       NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    superseded_at timestamptz,
    retired_at    timestamptz CHECK (retired_at IS NULL OR superseded_at IS NOT NULL)
);
CREATE UNIQUE INDEX data_keys_current ON wharfd.data_keys (purpose, kind) WHERE superseded_at IS NULL;
COMMENT ON TABLE wharfd.data_keys IS 'Keys that seal secrets, each wrapped with a master key that is not in here.';
COMMENT ON COLUMN wharfd.data_keys.superseded_at IS 'Since when a newer key seals; this one only opens.';
COMMENT ON COLUMN wharfd.data_keys.retired_at IS 'Since when no row names it. It still opens what an archive brings back.';

CREATE TABLE wharfd.audit (
    id          text        NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor       text        NOT NULL,
    action      text        NOT NULL,
    subject     text        NOT NULL,
    owner       text,
    ip          text,
    detail      jsonb       NOT NULL DEFAULT '{}',
    PRIMARY KEY (recorded_at, id)
) PARTITION BY RANGE (recorded_at);
CREATE INDEX audit_actor ON wharfd.audit (actor, recorded_at, id);
CREATE INDEX audit_action ON wharfd.audit (action, recorded_at, id);
CREATE INDEX audit_subject ON wharfd.audit (subject, recorded_at, id);
CREATE INDEX audit_owner ON wharfd.audit (owner, recorded_at, id);
COMMENT ON TABLE wharfd.audit IS 'Who changed what, and when. Rows are added and, after 400 days, dropped by month.';

-- Rows that wait for their place in the chain: transactions commit in another order than they write.
CREATE TABLE wharfd.audit_pending (
    recorded_at timestamptz NOT NULL,
    audit_id    text        NOT NULL,
    PRIMARY KEY (recorded_at, audit_id)
);
COMMENT ON TABLE wharfd.audit_pending IS 'Audit rows that are not sealed yet; emptied every few seconds.';

CREATE TABLE wharfd.audit_seals (
    seq         bigint      PRIMARY KEY CHECK (seq > 0),
    audit_id    text        NOT NULL UNIQUE,
    recorded_at timestamptz NOT NULL,
    row_hash    bytea       NOT NULL CHECK (octet_length(row_hash) = 32),
    hash        bytea       NOT NULL CHECK (octet_length(hash) = 32),
    sealed_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX audit_seals_recorded_at ON wharfd.audit_seals (recorded_at);
COMMENT ON TABLE wharfd.audit_seals IS 'The chain: hash = SHA-256 of the hash before, seq and the hash of the row.';

-- Nobody has a reason to change a row of these, the owner role no more than the app role.
CREATE FUNCTION wharfd.refuse_update() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
BEGIN
    RAISE EXCEPTION 'rows of %.% are never changed', TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER append_only BEFORE UPDATE ON wharfd.audit
    FOR EACH ROW EXECUTE FUNCTION wharfd.refuse_update();
CREATE TRIGGER append_only BEFORE UPDATE ON wharfd.audit_seals
    FOR EACH ROW EXECUTE FUNCTION wharfd.refuse_update();
