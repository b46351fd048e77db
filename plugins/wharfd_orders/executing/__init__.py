"""Carrying orders out: who does it, the handlers of the work queues, and what is written about it."""
