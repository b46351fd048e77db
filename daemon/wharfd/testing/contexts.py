"""A plugin's context without writing a flow: handlers are plain functions, called with it.

async def test_find_waiting(plugin_context):
    async with plugin_context(wharfd_loyalty) as ctx:
        assert await work.find_waiting(ctx) == []
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import ModuleType
from typing import Any

import pytest

from ..context import PluginContext
from .running import DaemonFactory

ContextFactory = Callable[..., AbstractAsyncContextManager[PluginContext[Any]]]


@pytest.fixture
def plugin_context(daemon: DaemonFactory) -> ContextFactory:
    """A factory: `async with plugin_context(module, config="…") as ctx` gives a running plugin's context."""

    @asynccontextmanager
    async def make(module: ModuleType, config: str = "") -> AsyncIterator[PluginContext[Any]]:
        name = module.__name__.removeprefix("wharfd_")
        async with daemon(plugins={name: module}, config=f"[plugins.{name}]\n{config}") as running:
            yield running.context(name)

    return make
