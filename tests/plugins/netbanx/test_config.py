"""What may stand in `[plugins.netbanx]`, and what is said about what may not."""

from __future__ import annotations

import dataclasses
import re
from datetime import UTC, datetime
from importlib.resources import files
from typing import get_args

import pytest

from wharfd.config import load_configuration, plugin_settings
from wharfd_netbanx.config import KeySettings, Settings, Source, Success
from wharfd_netbanx.schemes import PRESETS, Headers, Reason, SchemeName

NOW = datetime(2026, 8, 1, tzinfo=UTC)
KEY = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo="
EXAMPLE = (files("wharfd_netbanx") / "example.toml").read_text(encoding="utf-8")


def read(text):
    configuration = load_configuration(text, {"NETBANX_HMAC_KEY": KEY})
    assert not configuration.problems
    settings, problems = plugin_settings(configuration, "netbanx", Settings)
    return settings, [str(problem) for problem in problems]


def source(text):
    return read("[plugins.netbanx.sources.s]\n" + text)


def test_the_example_is_read_when_its_tables_and_its_key_are_uncommented():
    text = re.sub(r"^# (\[plugins\.netbanx(\.sources\.netbanx)?\]|keys = .*)$", r"\1", EXAMPLE, flags=re.M)
    settings, problems = read(text)
    assert problems == []
    found = settings.sources["netbanx"]
    assert len(found.typed_keys()) == 1
    for field in dataclasses.fields(Source):
        if field.name not in ("keys", "success"):
            assert getattr(found, field.name) == field.default, field.name
    assert settings.signature_validation is True


def test_the_example_names_every_setting():
    for kind in (Settings, Source, Success):
        for field in dataclasses.fields(kind):
            assert re.search(rf"^#? ?\[?.*\b{field.name}\b", EXAMPLE, re.MULTILINE), field.name


def test_every_setting_has_its_sentence():
    for kind in (Settings, Source, Success, KeySettings):
        for field in dataclasses.fields(kind):
            assert field.metadata["help"]


def test_keys_in_every_form():
    settings, problems = source(
        f"""keys = [{{ env = "NETBANX_HMAC_KEY" }}, "UUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=",
        {{ value = {{ env = "NETBANX_HMAC_KEY" }}, id = "old", until = 2026-09-01T00:00:00Z }},
        {{ value = "{"ab" * 32}", id = "hex", key_encoding = "hex" }}]"""
    )
    assert problems == []
    keys = settings.sources["s"].typed_keys()
    assert [key.id for key in keys[2:]] == ["old", "hex"]
    assert keys[2].secret == keys[0].secret
    assert keys[2].valid_until == datetime(2026, 9, 1, tzinfo=UTC)
    assert KEY not in repr(settings)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "sources.s.keys: missing"),
        ('scheme = "paysave"', "sources.s.scheme: text ('paysave') is none of 'paysafe', 'stripe'"),
        ('keys = ["not base64!"]', "sources.s.keys[0]: the key is not base64"),
        (f'keys = ["{KEY}", "{KEY}"]', "two keys are called"),
        (f'scheme = "square"\nkeys = ["{KEY}"]', "sources.s.public_url: missing"),
        (f'keys = ["{KEY}"]\npublic_url = "https://a"', "sources.s.public_url: has no meaning"),
        (f'keys = ["{KEY}"]\npublic_url = "a"', "sources.s.public_url: must be a whole address"),
        (f'keys = ["{KEY}"]\npaths = []', "sources.s.paths: missing"),
        (f'keys = ["{KEY}"]\npaths = ["a"]', "sources.s.paths: 'a' must begin with /"),
        (f'keys = ["{KEY}"]\nactive_hours = ["all day"]', "sources.s.active_hours: 'all day' is not like"),
        (f'keys = ["{KEY}"]\nactive_hours = ["mon 25:00-26:00"]', "is not like"),
        (f'keys = ["{KEY}"]\nmax_body_bytes = 5', "sources.s.max_body_bytes: must be"),
        (f'keys = ["{KEY}"]\nsuccess = {{ status = 302 }}', "sources.s.success.status: must be"),
        (f'keys = ["{KEY}"]\nsigned = "x"', "sources.s.signed: has no meaning"),
        (f'scheme = "hmac"\nkeys = ["{KEY}"]', "sources.s.signature_header: missing"),
        (f'scheme = "legacy-upp"\nkeys = ["{KEY}"]', "sources.s.allow_weak_checksum: missing"),
        ('scheme = "paypal"', "sources.s.webhook_id: missing"),
        ('scheme = "paypal"\nwebhook_id = "1"', "sources.s.ca_bundle: missing"),
    ],
)
def test_what_is_wrong_is_named_with_a_way_out(text, says):
    settings, problems = source(text)
    assert settings is None
    assert len(problems) == 1
    assert says in problems[0]
    assert KEY not in problems[0]


def test_the_names_of_schemes_are_the_schemes_there_are():
    assert set(get_args(SchemeName)) == set(PRESETS)


def test_sources_do_not_share_paths_and_have_plain_names():
    one, two = (f'[plugins.netbanx.sources.{name}]\nkeys = ["{KEY}"]\n' for name in ("a", "b"))
    assert "belongs to both 'a' and 'b'" in read(one + two)[1][0]
    assert "is not a name" in read(f'[plugins.netbanx.sources."A B"]\nkeys = ["{KEY}"]\n')[1][0]


def test_keys_may_come_later_when_they_are_stored():
    settings, problems = source("stored_keys = true")
    assert problems == []
    with pytest.raises(ValueError, match="keys: missing"):
        settings.sources["s"].verifier([])


def test_checking_can_be_switched_off_in_writing_only():
    text = f'keys = ["{KEY}"]'
    for switch, ok, reason in (("", False, Reason.SIGNATURE_MISSING), ("false", True, Reason.UNCHECKED)):
        head = f"[plugins.netbanx]\nsignature_validation = {switch}\n" if switch else ""
        settings, problems = read(head + "[plugins.netbanx.sources.s]\n" + text)
        assert problems == []
        entry = settings.sources["s"]
        verifier = settings.verifier(entry, entry.typed_keys())
        verdict = verifier.verify(Headers({}), b"{}", NOW)
        assert (verdict.ok, verdict.reason) == (ok, reason)
        sent, headers = entry.verifier(entry.typed_keys()).sign(b"{}", NOW, "")
        assert verifier.verify(Headers(headers), sent, NOW).reason is Reason.OK


def test_remarks_on_keys_reach_the_operator():
    settings, _ = source(f'keys = ["{"ab" * 32}"]')
    (said,) = settings.remarks()
    assert said.startswith("sources.s.keys[0]: ")
    assert "may already be decoded" in said
