"""The life of an alert, bounds, silences, the operator's expressions: no database, no clock."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wharfd import Finding, Sample
from wharfd_alerts.config import Mail, OperatorRule, Settings
from wharfd_alerts.expression import Rates, holds, values_of
from wharfd_alerts.model import (
    MOST_KEYS,
    REST,
    Open,
    Pace,
    Silence,
    Step,
    at_least,
    bounded,
    mail_text,
    silenced,
    steps,
)

T0 = datetime(2026, 11, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
PACE = Pace(for_=MINUTE, resolve_after=2 * MINUTE)


def pending(at=T0):
    return Open("a", "k", "pending", at)


def firing(clear_since=None):
    return Open("a", "k", "firing", T0, clear_since)


@pytest.mark.parametrize(
    ("alert", "found", "now", "expected"),
    [
        (None, False, T0, ()),
        (None, True, T0, (Step.BEGIN,)),
        (pending(), True, T0 + MINUTE / 2, (Step.STAY,)),
        (pending(), True, T0 + MINUTE, (Step.STAY, Step.FIRE)),
        (pending(), False, T0 + 5 * MINUTE, (Step.FORGET,)),
        (firing(), True, T0 + 9 * MINUTE, (Step.STAY,)),
        (firing(), False, T0 + 9 * MINUTE, (Step.CLEARING,)),
        (firing(T0 + 9 * MINUTE), False, T0 + 10 * MINUTE, ()),
        (firing(T0 + 9 * MINUTE), True, T0 + 10 * MINUTE, (Step.STAY,)),
        (firing(T0 + 9 * MINUTE), False, T0 + 11 * MINUTE, (Step.RESOLVE,)),
    ],
)
def test_steps(alert, found, now, expected):
    assert steps(alert, found, now, PACE) == expected


def test_without_waiting_it_fires_and_resolves_at_once():
    assert steps(None, True, T0, Pace()) == (Step.BEGIN, Step.FIRE)
    assert steps(firing(), False, T0, Pace()) == (Step.RESOLVE,)


@given(st.lists(st.booleans(), max_size=60), st.integers(0, 4), st.integers(0, 4))
def test_it_fires_only_after_long_enough_and_resolves_only_after_long_enough(seen, wait, well):
    """Against the plain reading of the rule: runs of the same finding, counted in minutes."""
    pace = Pace(for_=wait * MINUTE, resolve_after=well * MINUTE)
    alert, run = None, 0
    for minute, found in enumerate(seen):
        now = T0 + minute * MINUTE
        run = run + 1 if minute and seen[minute - 1] == found else 0
        before = alert.status if alert else None
        for step in steps(alert, found, now, pace):
            if step is Step.BEGIN:
                alert = Open("a", "k", "pending", now)
            elif step is Step.FIRE:
                assert found
                assert run >= wait
                alert = Open("a", "k", "firing", alert.started_at)
            elif step is Step.STAY:
                alert = Open("a", "k", alert.status, alert.started_at, None)
            elif step is Step.CLEARING:
                alert = Open("a", "k", "firing", alert.started_at, now)
            elif step is Step.FORGET:
                assert before == "pending"
                alert = None
            else:
                assert before == "firing"
                assert not found
                assert run >= well
                alert = None
        if found and run >= wait:
            assert alert is not None
            assert alert.status == "firing"
        if not found and run >= well and before == "firing":
            assert alert is None


def test_findings_are_bounded_and_the_first_of_a_key_counts():
    found = bounded([Finding("one", "k"), Finding("two", "k"), Finding("x" * 5000, "y" * 5000)])
    assert found["k"].message == "one"
    assert len(found["y" * 200].message) == 1000
    many = bounded(Finding("m", str(i)) for i in range(MOST_KEYS + 7))
    assert len(many) == MOST_KEYS + 1
    assert many[REST].message == "7 more findings of this rule"
    assert bounded([Finding("a\0b", "\0")])["\\0"].message == "a\\0b"


def test_what_is_no_finding_is_refused():
    with pytest.raises(TypeError, match="returns findings, not str"):
        bounded(["wrong"])


@pytest.mark.parametrize(
    ("silence", "quiet"),
    [
        (Silence("s", "netbanx", "backlog", "*"), True),
        (Silence("s"), True),
        (Silence("s", "net*", "*", "eu?"), True),
        (Silence("s", "netbanx", "backlog", "us"), False),
        (Silence("s", "NETBANX"), False),
    ],
)
def test_silences_match_by_pattern(silence, quiet):
    assert silenced([silence], "netbanx", "backlog", "eu1") is quiet


def test_severities_have_an_order():
    assert at_least("critical", "warning")
    assert at_least("info", "info")
    assert not at_least("info", "warning")


def test_a_mail_cannot_carry_a_header_of_its_own():
    alert = dict.fromkeys(("runbook", "key", "message", "started_at", "resolved_at"), "")
    alert |= {
        "plugin": "p",
        "rule": "r",
        "severity": "info",
        "summary": "a\r\nBcc: x@y",
        "id": "1",
        "value": 2.0,
    }
    subject, text = mail_text("fired", alert)
    assert subject == "[wharfd] firing: p.r: a Bcc: x@y"
    assert "value      2" in text


SAMPLES = [
    Sample("requests_total", "counter", {"status": "200"}, 90.0),
    Sample("requests_total", "counter", {"status": "500"}, 7.0),
    Sample("requests_total", "counter", {"status": "503"}, 3.0),
    Sample("broken", "gauge", {}, float("nan")),
]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (OperatorRule("requests_total", 1), {"": 100.0}),
        (OperatorRule("requests_total", 1, labels={"status": "5*"}), {"": 10.0}),
        (
            OperatorRule("requests_total", 1, labels={"status": "5*"}, each=True),
            {"status=500": 7.0, "status=503": 3.0},
        ),
        (OperatorRule("requests_total", 1, labels={"status": "404"}), {}),
        (OperatorRule("broken", 1), {}),
        (OperatorRule("nothing", 1), None),
    ],
)
def test_values_of_a_rule(rule, expected):
    assert values_of(rule, SAMPLES) == expected


@pytest.mark.parametrize(
    ("op", "threshold", "clear", "value", "firing", "expected"),
    [
        (">", 100, 80, 90, False, False),
        (">", 100, 80, 90, True, True),
        (">", 100, 80, 80, True, False),
        ("<", 5, 10, 7, False, False),
        ("<", 5, 10, 7, True, True),
        ("==", 1, None, 1, False, True),
        (">", 100, None, 100, True, False),
    ],
)
def test_an_alert_holds_until_its_value_is_back(op, threshold, clear, value, firing, expected):
    assert holds(OperatorRule("m", threshold, op=op, clear=clear), value, firing=firing) is expected


def test_rates_survive_a_counter_that_starts_anew():
    rates = Rates(60)
    assert rates.over({"": 100.0}, 0.0) == {}
    assert rates.over({"": 160.0}, 30.0) == {"": 2.0}
    assert rates.over({"": 30.0}, 60.0) == {"": 1.5}  # restarted at 0 and counted 30
    assert rates.over({"": 90.0}, 90.0) == {"": 1.5}  # the first point left the window
    assert rates.over({}, 120.0) == {}
    assert rates.over({"": 5.0}, 150.0) == {}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: OperatorRule("no name", 1), "metric: "),
        (lambda: OperatorRule("m", 5, op=">", clear=6), "clear: must lie"),
        (lambda: OperatorRule("m", 5, op="<", clear=4), "clear: must lie"),
        (lambda: OperatorRule("m", 5, op="==", clear=4), "clear: only goes"),
        (lambda: OperatorRule("m", 5, rate=timedelta(seconds=1)), "rate: "),
        (lambda: Settings(rules={"No": OperatorRule("m", 1)}), "rules: "),
        (lambda: Settings(pool_used=80), "pool_used: is a share"),
        (lambda: Settings(allow_networks=("nonsense",)), "allow_networks: "),
        (lambda: Mail("h", "no address", ("a@b",)), "recipients: "),
        (lambda: Mail("h", "a@b", ()), "recipients: "),
        (lambda: Mail("h", "a@b", ("a@b\nBcc: c@d",)), "recipients: "),
        (lambda: Mail("h", "a@b", ("a@b",), username="u"), "password: "),
    ],
)
def test_wrong_settings_say_which(make, words):
    with pytest.raises(ValueError, match=words):
        make()
