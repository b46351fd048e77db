"""Processing: what follows from stored events, worked in batches, one transaction each."""
