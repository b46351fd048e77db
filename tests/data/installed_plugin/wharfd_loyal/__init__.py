"""A plugin as somebody else would install it; found by its hand-made dist-info."""

from wharfd.hookspecs import hookimpl


@hookimpl
def register_settings():
    return None
