"""A daemon with the console and with pages that hold hostile data."""

from contextlib import asynccontextmanager
from types import ModuleType

import pytest

from wharfd import ConsolePage, NotFound, hookimpl
from wharfd.contracts.html import Column, action, badge, card, code, facts, link, moment, pretty, table

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
# Every plugin that brings pages.
ALL = "".join(
    f"[plugins.{name}]\n"
    for name in (
        "alerts", "backfill", "backups", "feedback", "integrations", "metrics", "mint", "netbanx", "orders",
        "retention", "webhooks",
    )
)  # fmt: skip
OPERATOR = "wharfd_operator_" + "o" * 40
# A source whose keys people put in, and such a key.
SECRET = "dHlwZWQgYnkgYSBwZXJzb24sIHNob3duIG5vd2hlcmU="
SOURCE = """[plugins.webhooks]
[plugins.netbanx]
signature_validation = false
[plugins.netbanx.sources.netbanx]
scheme = "paysafe"
paths = ["/api/webhooks/netbanx"]
stored_keys = true
"""


async def render_hostile(ctx, request):
    """Put hostile text into everything a page is made of."""
    listed = table(
        HOSTILE, [HOSTILE, Column(HOSTILE)], [(HOSTILE, code(HOSTILE)), (badge(HOSTILE), moment(HOSTILE))]
    )
    known = facts([(HOSTILE, HOSTILE), (HOSTILE, pretty({HOSTILE: HOSTILE}))])
    button = action(
        request.identity, "system:write", HOSTILE, HOSTILE, body={HOSTILE: HOSTILE}, confirm=HOSTILE
    )
    return card(HOSTILE, listed, known, link(HOSTILE, f"javascript:{HOSTILE}"), note=HOSTILE, actions=button)


async def render_broken(ctx, request):
    """Fail with a secret in the message."""
    raise RuntimeError("the-secret-of-the-page")


async def render_missing(ctx, request):
    """Refuse as the API does."""
    raise NotFound(f"there is no {HOSTILE}")


def neighbour():
    """Make a plugin that brings pages."""
    module = ModuleType("wharfd_neighbour")
    module.__doc__ = "A neighbour."
    pages = [
        ConsolePage(path="neighbour/hostile", title=HOSTILE, render=render_hostile, icon=HOSTILE),
        ConsolePage(path="neighbour/broken", title="Broken", render=render_broken),
        ConsolePage(path="neighbour/missing", title="Missing", render=render_missing),
    ]

    @hookimpl
    def register_console():
        return pages

    module.register_console = register_console
    return module


@pytest.fixture
def console(daemon):
    """A factory: `async with console() as d:`; `d.operator` is the operator's token."""

    @asynccontextmanager
    async def start(config=""):
        text = f'[plugins.console]\nsample_every = "1s"\n{config}'
        async with daemon(plugins={"neighbour": neighbour()}, config=text) as d:
            token = d.running.machinery.state.path / "operator.token"
            token.write_text(OPERATOR + "\n")
            token.chmod(0o600)
            yield d

    return start
