"""Taking backups: PostgreSQL's programs, what they stream, the write-ahead log, and the places."""
