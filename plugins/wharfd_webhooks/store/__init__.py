"""The SQL, one function per operation. Everything takes a transaction or a database and returns plain
values."""
