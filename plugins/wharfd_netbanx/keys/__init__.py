"""Keys managed by API and CLI: sealed in the database, in use within minutes, rotated with overlap."""
