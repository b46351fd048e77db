"""What plugins share without importing each other: events, Protocols, and the keys to find them by."""
