"""The pure part: signatures, tables, filters, schemas and health. No I/O, no clock, no database."""
