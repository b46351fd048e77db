"""The API: transactions, accounts and analytics in the old shapes; events, queue and keys for operators."""
