import wharfd_feedback
from wharfd.testing import PluginContract


class TestContract(PluginContract):
    plugin = wharfd_feedback
