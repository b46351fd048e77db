"""The pure part of backups: names, lists and decisions, without any file, server or clock."""
