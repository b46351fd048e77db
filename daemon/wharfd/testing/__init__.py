"""The test kit shipped to plugin authors; wharfd's own suite uses nothing else."""
