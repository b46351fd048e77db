-- The few refunds and payouts among a million payments are found without reading these.
CREATE INDEX transactions_type ON transactions (type, created_at DESC, id DESC);
