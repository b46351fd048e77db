-- Which daemons send at the moment, so that they can share an endpoint's limits.
CREATE TABLE webhooks.senders (
    id      text        PRIMARY KEY CHECK (id LIKE 'snd\_%'),
    seen_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
COMMENT ON TABLE webhooks.senders IS 'One row per daemon that sends, renewed every few seconds.';
