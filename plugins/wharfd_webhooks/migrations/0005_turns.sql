-- Who sends to an endpoint that takes fewer sends at a time than there are daemons: a row is a send under way.
CREATE TABLE webhooks.turns (
    endpoint_id text        NOT NULL,
    slot        smallint    NOT NULL,
    delivery_id text        NOT NULL,
    until       timestamptz NOT NULL,
    PRIMARY KEY (endpoint_id, slot)
) WITH (fillfactor = 50);
COMMENT ON TABLE webhooks.turns IS 'Sends under way to endpoints whose maxInFlight is below the number of daemons.';
