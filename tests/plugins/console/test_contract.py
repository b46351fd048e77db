import wharfd_console
from wharfd.testing import PluginContract


class TestConsole(PluginContract):
    plugin = wharfd_console
