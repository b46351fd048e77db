"""Restoring: fetch, decode, verify, start, reach the target, check, remove."""
