-- Brings a server to where wharfd needs it: roles, database, rights, extension. Run at every start, as the
-- superuser, through psql; a start that was cut short is finished by the next one.

-- Commits waited for the receiver of the backups, which is not there yet; it says when they wait again.
SELECT 'ALTER SYSTEM RESET synchronous_standby_names'
 WHERE current_setting('synchronous_standby_names') = 'wharfd_receiver' \gexec
SELECT pg_reload_conf() \g /dev/null

SELECT format('CREATE ROLE %I LOGIN', role)
  FROM unnest(ARRAY['wharfd_owner', 'wharfd_app', 'wharfd_backup']) AS role
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) \gexec

ALTER ROLE wharfd_owner NOSUPERUSER NOCREATEROLE NOREPLICATION NOBYPASSRLS;
ALTER ROLE wharfd_app NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
ALTER ROLE wharfd_backup NOSUPERUSER NOCREATEDB NOCREATEROLE REPLICATION;
GRANT pg_monitor TO wharfd_owner, wharfd_backup;
GRANT pg_read_all_data TO wharfd_backup;

SELECT 'CREATE DATABASE wharfd OWNER wharfd_owner'
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'wharfd') \gexec

REVOKE ALL ON DATABASE wharfd FROM PUBLIC;
GRANT CREATE, CONNECT, TEMPORARY ON DATABASE wharfd TO wharfd_owner;
GRANT CONNECT ON DATABASE wharfd TO wharfd_app, wharfd_backup;

\connect wharfd
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pg_switch_wal(), pg_create_restore_point(text) TO wharfd_backup;

SELECT statement
  FROM unnest(ARRAY['CREATE EXTENSION IF NOT EXISTS pg_stat_statements',
                    'ALTER EXTENSION pg_stat_statements UPDATE']) AS statement
 WHERE 'pg_stat_statements' = ANY (string_to_array(replace(current_setting('shared_preload_libraries'), ' ', ''), ',')) \gexec
