-- A run may be over one rule alone; it tells nothing of the others.

ALTER TABLE retention.runs ADD COLUMN rule text;
COMMENT ON COLUMN retention.runs.rule IS 'The one rule it was over; NULL for all.';
