"""The rules every plugin keeps."""

from __future__ import annotations

import wharfd_backfill
from wharfd.testing import PluginContract


class TestBackfill(PluginContract):
    plugin = wharfd_backfill
