-- The fan-out keeps in memory who asks for what. This number says whether that still holds: it moves in the
-- transaction of every change, and the statement that makes deliveries compares it.
CREATE TABLE webhooks.generation (
    one    boolean PRIMARY KEY DEFAULT true CHECK (one),
    number bigint  NOT NULL
) WITH (fillfactor = 10);
INSERT INTO webhooks.generation (number) VALUES (1);
COMMENT ON TABLE webhooks.generation IS 'Moves whenever an endpoint asks for something else than before.';

CREATE FUNCTION webhooks.move_generation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE webhooks.generation SET number = number + 1;
    RETURN NULL;
END $$;

CREATE TRIGGER endpoint_added AFTER INSERT OR DELETE ON webhooks.endpoints
    FOR EACH STATEMENT EXECUTE FUNCTION webhooks.move_generation();
CREATE TRIGGER endpoint_changed AFTER UPDATE ON webhooks.endpoints
    FOR EACH ROW WHEN (
        (OLD.owner, OLD.events, OLD.filter, OLD.order_by, OLD.order_failed, OLD.status IN ('active', 'paused'))
        IS DISTINCT FROM
        (NEW.owner, NEW.events, NEW.filter, NEW.order_by, NEW.order_failed, NEW.status IN ('active', 'paused')))
    EXECUTE FUNCTION webhooks.move_generation();
