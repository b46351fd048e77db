"""The fault matrix: wharfd under load while something breaks, and a count of what was lost or done twice.

`python -m faults list` shows the scenarios, `python -m faults run all` runs them. Every scenario starts real
daemons on a real PostgreSQL with fsync on, delivers to them over HTTP, writes down each acknowledged
delivery in an append-only ledger, breaks something, and then compares the ledger with the database.
"""
