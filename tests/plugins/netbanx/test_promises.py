"""Promises that no other file looks at, and that the list of all of them names tests that exist."""

from __future__ import annotations

import ast
import dataclasses
import re
import types
from datetime import timedelta
from pathlib import Path

from wharfd import Secret
from wharfd.watching import open_health
from wharfd_netbanx import declared, schemes
from wharfd_netbanx.api import analytics
from wharfd_netbanx.api.routes import api_routes
from wharfd_netbanx.config import Settings, Source
from wharfd_netbanx.keys import loading, store

ROOT = Path(__file__).parents[3]
SCHEMES = sorted(Path(schemes.__file__).parent.glob("*.py"))
KEY = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo="


# -- the signature is compared in constant time, everywhere ---------------------------------------------

MADE_WITH_A_KEY = re.compile(r"\bexpected\b|hmac\.digest\(|_checksum\(|_signature\(")


def compared_plainly(tree):
    """Name the comparisons by == or `in` of what was computed with a key."""
    for node in ast.walk(tree):
        plain = isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq | ast.NotEq | ast.In)
        if plain and MADE_WITH_A_KEY.search(ast.unparse(node)):
            yield f"line {node.lineno}: {ast.unparse(node)}"


def test_no_scheme_compares_a_signature_with_equals():
    careful = set()
    for path in SCHEMES:
        text = path.read_text(encoding="utf-8")
        assert list(compared_plainly(ast.parse(text))) == [], path.name
        careful |= {path.stem} if "hmac.compare_digest(" in text else set()
    assert careful >= {"hmac_body", "timestamped", "adyen", "legacy_upp"}


def test_the_check_would_find_one():
    assert list(compared_plainly(ast.parse("if expected == presented: ok()")))


# -- stored keys ----------------------------------------------------------------------------------------


async def test_a_key_stored_by_another_daemon_is_used_after_a_reload(with_settings):
    managed = Source(stored_keys=True, paths=("/managed",))
    async with with_settings(sources={"managed": managed}) as plugin:
        assert (await plugin.post(b"{}", {}, "managed")).status == 503
        await plugin.ctx.secrets.prepare(loading.TABLE)
        for key_id, text in (("whs_1", KEY), ("whs_2", None)):
            sealed = await plugin.ctx.secrets.seal(loading.TABLE, loading.COLUMN, key_id, KEY.encode())
            async with plugin.db.transaction() as tx:
                await store.add(
                    tx, id=key_id, source="managed", owner=None, name=key_id, description="",
                    key_encoding="base64", sealed=sealed if text else b"not sealed by us",
                    fingerprint="f", version=1, valid_from=None, valid_until=None, created_by="test",
                )  # fmt: skip
        await loading.load(plugin.ctx, plugin.intake)
        assert [key.id for key in plugin.intake.stored_keys["managed"]] == ["whs_1"]  # the other is left out
        source = Source(keys=(Secret(KEY),))
        body, headers = source.verifier(source.typed_keys()).sign(b"{}", plugin.ctx.now(), "evt_1")
        assert (await plugin.post(body, headers, "managed")).status == 200


# -- what is kept, and for how long ---------------------------------------------------------------------


def test_answers_are_kept_as_long_as_promised():
    kept = {r.path: (r.cache.seconds, set(r.cache.tags)) for r in api_routes(Settings()) if r.cache}
    assert kept["/api/v1/transactions"] == (120, {"transactions"})
    assert kept["/api/v1/accounts"] == (600, {"accounts"})
    assert kept["/api/v1/analytics"] == (180, {"analytics"})
    spans = {name: (s.keep_seconds, s.renew_seconds) for name, s in analytics.SPANS.items()}
    minutes = {"hour": (5, 1), "day": (10, 5), "week": (30, 15), "month": (60, 30)}
    assert spans == {name: (keep * 60, renew * 60) for name, (keep, renew) in minutes.items()}


async def test_what_was_asked_for_is_renewed_in_the_background_each_at_its_pace(plugin, monkeypatch):
    computed = []
    real = analytics.compute

    async def compute(ctx, time_range, owner):
        computed.append((time_range, owner))
        return await real(ctx, time_range, owner)

    monkeypatch.setattr(analytics, "compute", compute)
    now = [plugin.ctx.now()]
    ctx = dataclasses.replace(plugin.ctx, clock=types.SimpleNamespace(now=lambda: now[0]))
    request = types.SimpleNamespace(query=types.SimpleNamespace(time_range="day"), owner="acme")
    await analytics.get_analytics(ctx, request)
    computed.clear()
    await analytics.renew(ctx)
    assert set(computed) == {*((name, None) for name in analytics.SPANS), ("day", "acme")}
    computed.clear()
    await analytics.get_analytics(ctx, request)
    assert computed == []  # it was made before anybody asked
    now[0] += timedelta(minutes=1)
    await analytics.renew(ctx)
    assert computed == [("hour", None)]
    now[0] += timedelta(minutes=4)
    await analytics.renew(ctx)
    assert set(computed) == {("hour", None), ("day", None), ("day", "acme")}


# -- the spool ------------------------------------------------------------------------------------------


async def test_health_is_degraded_while_deliveries_wait_in_the_spool():
    spools = types.SimpleNamespace(statistics=lambda: [types.SimpleNamespace(records=records[0])])
    keeper = types.SimpleNamespace(spools=spools, outage=False)
    lives = types.SimpleNamespace(machinery=None, bound_checks=list)
    board = open_health(lives, types.SimpleNamespace(statuses=list), keeper)
    for waiting, outage, state in ((0, False, "ok"), (3, False, "degraded"), (0, True, "degraded")):
        records, keeper.outage = [waiting], outage
        bound = next(one for one in board._checks if one.check.name == "spool")
        assert (await bound.check.check(None)).state == state


# -- the list -------------------------------------------------------------------------------------------


def files_of(name):
    """Return the files that a short name of the page may mean."""
    folders = ("plugins/netbanx", "core", "core/work", "system", "rules")
    return [
        path
        for folder in folders
        if (path := ROOT / "tests" / folder / f"test_{name.split('/')[-1]}.py").exists()
    ]


def test_the_list_of_promises_names_tests_that_exist():
    page = (ROOT / "docs" / "ingest-proof.md").read_text(encoding="utf-8")
    rows = [line.split("|") for line in page.splitlines() if re.match(r"\| (?!promise)", line)]
    assert len(rows) > 60
    scenarios = (ROOT / "faults" / "RESULTS.md").read_text(encoding="utf-8")
    absent = []
    for _, promise, proof, _ in rows:
        named = re.findall(r"`([^`]+)`", proof)
        assert named, f"nothing proves: {promise}"
        for name in named:
            kind, _, rest = name.partition("::")
            if name.startswith("bench/"):
                found = (ROOT / name).exists()
            elif name.startswith("faults "):
                found = f"## {name[7:]} " in scenarios
            else:
                found = any(
                    f"def test_{rest}(" in path.read_text(encoding="utf-8") for path in files_of(kind)
                )
            absent += [] if found else [name]
    assert absent == [], "mend docs/ingest-proof.md"


def test_identities_outlive_their_events():
    kept = {rule.table: rule.keep for rule in declared.RETENTION}
    assert kept["netbanx.dedup"] > kept["netbanx.events"]
