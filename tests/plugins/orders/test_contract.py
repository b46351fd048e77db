"""The rules every plugin keeps."""

from __future__ import annotations

import wharfd_orders
from wharfd.testing import PluginContract


class TestOrders(PluginContract):
    plugin = wharfd_orders
