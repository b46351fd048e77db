"""The minter for chains that speak Ethereum JSON-RPC."""
