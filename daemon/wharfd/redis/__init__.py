"""Redis, which is a hint (law 1): it fails fast, and whoever calls goes on without it.

`link` holds the connection; it and its client are loaded where a Redis is configured, and nowhere else.
"""
