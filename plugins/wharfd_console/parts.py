"""The console's own context, as its pages get it."""

from __future__ import annotations

from wharfd import PluginContext

from .config import Settings

Context = PluginContext[Settings]
