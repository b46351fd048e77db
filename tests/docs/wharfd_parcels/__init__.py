"""The plugin that the blocks of the docs are part of; `tests/docs/test_running.py` puts them in."""
