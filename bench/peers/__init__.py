"""Other people's ways to do what wharfd does, for the benches that put them side by side."""
