import wharfd_alerts
from wharfd.testing import PluginContract


class TestContract(PluginContract):
    plugin = wharfd_alerts
