"""The pure part: how a key is written, what it may do, how requests are signed. No SQL, no I/O, no clock."""
