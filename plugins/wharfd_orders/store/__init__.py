"""The SQL of the plugin: one named statement and one function per operation."""
