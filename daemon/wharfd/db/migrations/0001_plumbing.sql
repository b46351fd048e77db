-- What the database layer itself needs. Everything else of the core comes in later files.

CREATE TABLE wharfd.migrations (
    plugin           text        NOT NULL,
    number           integer     NOT NULL CHECK (number > 0),
    name             text        NOT NULL,
    checksum         text        NOT NULL,
    applied_at       timestamptz NOT NULL DEFAULT now(),
    duration_seconds double precision NOT NULL,
    wharfd_version   text        NOT NULL,
    PRIMARY KEY (plugin, number)
);
COMMENT ON TABLE wharfd.migrations IS 'Every migration that was applied, with the checksum of its file.';

CREATE TABLE wharfd.maintenance_log (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    started_at       timestamptz NOT NULL DEFAULT now(),
    action           text        NOT NULL,
    target           text        NOT NULL DEFAULT '',
    actor            text        NOT NULL DEFAULT '',
    outcome          text        NOT NULL CHECK (outcome IN ('done', 'failed')),
    detail           jsonb       NOT NULL DEFAULT '{}',
    duration_seconds double precision NOT NULL
);
CREATE INDEX maintenance_log_started_at ON wharfd.maintenance_log (started_at DESC);
COMMENT ON TABLE wharfd.maintenance_log IS 'What maintenance did: migrate, analyze, reindex, cleanup, partitions.';

-- Makes the missing monthly partitions of a table, from the month of `first` for `months` months, and returns
-- the names of the new ones. A partition is made beside the table and then attached, which does not block
-- writers; nobody but the owner may touch it directly, so the rights on the parent are the only ones.
CREATE FUNCTION wharfd.ensure_month_partitions(parent regclass, first timestamptz, months integer)
RETURNS SETOF text
LANGUAGE plpgsql
SET search_path = pg_catalog
SET timezone = 'UTC'
AS $$
DECLARE
    parent_schema text;
    parent_name   text;
    key_type      text;
    month         timestamptz;
    child         text;
    grantee       text;
BEGIN
    SELECT n.nspname, c.relname INTO parent_schema, parent_name
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = parent;
    SELECT format_type(a.atttypid, NULL) INTO key_type
      FROM pg_partitioned_table p
      JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
     WHERE p.partrelid = parent AND p.partstrat = 'r' AND p.partnatts = 1;
    IF key_type IS DISTINCT FROM 'timestamp with time zone' THEN
        RAISE EXCEPTION 'table % is not partitioned by range of one timestamptz column', parent;
    END IF;
    IF months NOT BETWEEN 1 AND 1200 THEN
        RAISE EXCEPTION 'months must be between 1 and 1200, not %', months;
    END IF;
    IF octet_length(parent_name) > 54 THEN
        RAISE EXCEPTION 'the name of table % is too long for partitions: at most 54 bytes', parent;
    END IF;
    -- Two daemons doing this at once must not both make the same partition.
    PERFORM pg_advisory_xact_lock(hashtextextended('wharfd.partitions ' || parent_schema || '.' || parent_name, 0));
    FOR offset_months IN 0 .. months - 1 LOOP
        month := date_trunc('month', first) + make_interval(months => offset_months);
        child := parent_name || to_char(month, '"_y"YYYY"m"MM');
        CONTINUE WHEN EXISTS (
            SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
             WHERE i.inhparent = parent AND c.relname = child);
        EXECUTE format(
            'CREATE TABLE %I.%I (LIKE %s INCLUDING ALL EXCLUDING IDENTITY EXCLUDING INDEXES EXCLUDING STATISTICS)',
            parent_schema, child, parent);
        FOR grantee IN
            SELECT DISTINCT CASE WHEN x.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END
              FROM pg_class c
              CROSS JOIN LATERAL aclexplode(c.relacl) x
              LEFT JOIN pg_roles r ON r.oid = x.grantee
             WHERE c.oid = format('%I.%I', parent_schema, child)::regclass AND x.grantee <> c.relowner
        LOOP
            EXECUTE format('REVOKE ALL ON %I.%I FROM %s', parent_schema, child, grantee);
        END LOOP;
        EXECUTE format('ALTER TABLE %s ATTACH PARTITION %I.%I FOR VALUES FROM (%L) TO (%L)',
                       parent, parent_schema, child, month, month + interval '1 month');
        RETURN NEXT parent_schema || '.' || child;
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION wharfd.ensure_month_partitions FROM PUBLIC;
COMMENT ON FUNCTION wharfd.ensure_month_partitions IS 'Makes missing monthly partitions; for the owner role.';
