-- Archives are looked at again and again; the holds moved to where every plugin's deletes ask for them.

ALTER TABLE retention.units
    ADD COLUMN checked_at timestamptz,
    ADD COLUMN trouble    text;
CREATE INDEX units_unchecked ON retention.units (checked_at NULLS FIRST) WHERE manifest IS NOT NULL;
CREATE INDEX units_trouble ON retention.units (id) WHERE trouble IS NOT NULL;
COMMENT ON COLUMN retention.units.checked_at IS 'When its archive was last read back in every place.';
COMMENT ON COLUMN retention.units.trouble IS 'What was wrong with its archive then.';

INSERT INTO wharfd.holds SELECT * FROM retention.holds ON CONFLICT DO NOTHING;
DROP TABLE retention.holds;
