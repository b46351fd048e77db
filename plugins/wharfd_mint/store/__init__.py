"""SQL, one function per operation. Rows are locked in one order: buyers, tiers, intents, signers, nonces."""
