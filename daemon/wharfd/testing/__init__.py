"""The test kit shipped to plugin authors; wharfd's own suite uses nothing else.

Fixtures come with the pytest plugin: `daemon`, `db`, `redis_url`, `receiver`, `clock`, and what they need.
`PluginContract` is the test class every plugin subclasses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .contract import PluginContract as PluginContract
    from .running import DaemonHandle as DaemonHandle

__all__ = ["DaemonHandle", "PluginContract"]


def __getattr__(name: str) -> Any:
    # A pytest plugin is imported before coverage measures; what is heavy waits until a test asks for it.
    if name == "PluginContract":
        from .contract import PluginContract

        return PluginContract
    if name == "DaemonHandle":
        from .running import DaemonHandle

        return DaemonHandle
    raise AttributeError(f"wharfd.testing has no name {name!r}")
