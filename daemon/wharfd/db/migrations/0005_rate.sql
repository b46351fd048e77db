-- Rate budgets that must hold over restarts and nodes. One row per name and key that was used of late.

CREATE TABLE wharfd.rate_budgets (
    name    text        NOT NULL CHECK (name <> '' AND length(name) <= 200),
    key     text        NOT NULL CHECK (length(key) <= 200),
    -- When the budget is whole again if nothing more is taken; what is left follows from it and the rate.
    full_at timestamptz NOT NULL,
    PRIMARY KEY (name, key)
-- No index on full_at: it changes with every take, and updates shall stay within their page.
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
COMMENT ON TABLE wharfd.rate_budgets IS 'Rate budgets by name and key; rows whose full_at has passed mean nothing.';
