"""Acceptance: from a delivery on the wire to a committed row and its answer."""
