-- A row a minute, so that a restored copy tells by itself how far it goes; every tenth with what the tables
-- held then, so that a copy restored to any moment can be checked against a count from shortly before it.

CREATE TABLE backups.marks (
    at       timestamptz PRIMARY KEY DEFAULT clock_timestamp(),
    snapshot text,
    tables   jsonb
);
CREATE INDEX marks_counted ON backups.marks (at) WHERE tables IS NOT NULL;
COMMENT ON TABLE backups.marks IS 'That the server was alive, a row a minute, some with counts of all tables.';
