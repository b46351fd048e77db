-- Browser sessions that were ended before their time. A cookie carries its session; only its end is kept here, as a
-- keyed hash that nobody can make a session of.
CREATE TABLE wharfd.ended_sessions (
    mark       bytea       PRIMARY KEY,
    expires_at timestamptz NOT NULL
);

CREATE INDEX ended_sessions_expires_at ON wharfd.ended_sessions (expires_at);
