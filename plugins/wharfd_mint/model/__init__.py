"""Rules without I/O: wallets, licenses, calls, fees, failures, and what to do next."""
