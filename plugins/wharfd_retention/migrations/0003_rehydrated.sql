-- Archived rows that were put beside their table lie in a schema of their own, and go at a date; a month that was
-- taken out of its table can be put back, and stays for a while.

CREATE TABLE retention.rehydrated (
    id         text        PRIMARY KEY,
    relation   text        NOT NULL UNIQUE,
    source     text        NOT NULL,
    rows       bigint      NOT NULL,
    made_by    text        NOT NULL,
    made_at    timestamptz NOT NULL DEFAULT now(),
    ends_at    timestamptz NOT NULL
);
CREATE INDEX rehydrated_ends_at ON retention.rehydrated (ends_at);
COMMENT ON TABLE retention.rehydrated IS 'Archives whose rows lie in a table beside, and until when.';

-- Those of before lie in this schema; they go in the same way.
INSERT INTO retention.rehydrated (id, relation, source, rows, made_by, ends_at)
SELECT u.id, 'retention.' || c.relname, u.source, u.rows, 'before', now() + interval '14 days'
  FROM pg_class c JOIN retention.units u ON c.relname = 'rehydrated_' || u.id
 WHERE c.relnamespace = 'retention'::regnamespace AND c.relkind = 'r';

ALTER TABLE retention.units ADD COLUMN stays_until timestamptz;
COMMENT ON COLUMN retention.units.stays_until IS 'Until when a month that somebody put back is left alone.';
