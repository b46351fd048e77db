"""The SQL of the plugin, one function per operation."""
