"""wharfd: the back office of a commerce business in one daemon."""

__version__ = "0.1.0"
