-- Legal holds, and the one question that every statement which deletes by age asks last.

CREATE TABLE wharfd.holds (
    id           text        PRIMARY KEY,
    source       text        NOT NULL CHECK (source <> ''),
    owner        text,
    key          text,
    reason       text        NOT NULL,
    made_by      text        NOT NULL,
    made_at      timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    released_at  timestamptz,
    released_by  text
);
CREATE INDEX holds_open ON wharfd.holds (source) WHERE released_at IS NULL;
COMMENT ON TABLE wharfd.holds IS 'Legal holds: on a table (or * for all), on an owner''s rows of it, or on one row.';

-- A hold narrowed to an owner or a key covers rows of which the caller cannot say whose or which they are.
CREATE FUNCTION wharfd.held(of_table text, of_owner text, of_key text) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT EXISTS (
        SELECT FROM wharfd.holds h
         WHERE h.released_at IS NULL AND (h.expires_at IS NULL OR h.expires_at > now())
           AND h.source IN ('*', of_table)
           AND (h.owner IS NULL OR of_owner IS NULL OR h.owner = of_owner)
           AND (h.key IS NULL OR of_key IS NULL OR h.key = of_key))
$$;
COMMENT ON FUNCTION wharfd.held IS 'Whether a row must not be deleted: AND NOT wharfd.held(''schema.table'', owner, key).';
