"""What an order and a batch are: pure rules, without a database, a clock or a network."""
