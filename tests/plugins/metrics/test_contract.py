import wharfd_metrics
from wharfd.testing import PluginContract


class TestContract(PluginContract):
    plugin = wharfd_metrics
