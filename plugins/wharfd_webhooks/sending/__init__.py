"""Sending: the gate in front of each endpoint, the send itself, and writing what came of it."""
