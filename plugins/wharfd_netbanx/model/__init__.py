"""What a delivery says and what follows from it: pure functions over bytes and values, no I/O, no clock."""
