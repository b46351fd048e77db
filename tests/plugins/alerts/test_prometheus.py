"""The shipped rules: promtool runs their tests, and every metric they name is really shown."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import trio

import wharfd_alerts

FOLDER = Path(wharfd_alerts.__file__).parent / "prometheus"
REPOSITORY = Path(__file__).parents[3]
promtool = pytest.mark.skipif(
    shutil.which("promtool") is None,
    reason="PROMTOOL IS NOT INSTALLED: the shipped Prometheus rules are not tested (apt install prometheus)",
)


@promtool
def test_the_rules_hold_their_tests():
    run = subprocess.run(
        ["promtool", "test", "rules", "alerts_test.yml"],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stdout + run.stderr


@promtool
def test_the_rules_are_well_formed():
    run = subprocess.run(
        ["promtool", "check", "rules", "alerts.yml"], cwd=FOLDER, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stdout + run.stderr


async def test_every_metric_a_rule_names_is_shown(world):
    async with world() as w:
        await w.d.context("alerts").state["sampler"].report()
        await w.d.get("/api/v1/alerts")
        shown = (await w.d.get("/metrics")).body.decode()
    named = set(re.findall(r"\b(?:wharfd|process)_[a-z_]+", "\n".join(exprs())))
    assert len(named) >= 7
    for name in named:
        assert re.search(rf"^{name}(\{{| )", shown, re.MULTILINE), f"no daemon shows {name}"


def exprs():
    text = (FOLDER / "alerts.yml").read_text()
    return re.findall(r"expr: (.*?)\n        (?:for|labels)", text, re.DOTALL)


@promtool
async def test_what_is_exposed_is_clean(world):
    async with world() as w:
        await w.d.context("alerts").state["sampler"].report()
        shown = (await w.d.get("/metrics")).body
    ours = b"".join(line for line in shown.splitlines(keepends=True) if b"wharfd_alerts" in line)
    run = await trio.run_process(
        ["promtool", "check", "metrics"], stdin=ours, capture_stdout=True, check=False
    )
    assert run.returncode == 0, run.stdout


def test_every_runbook_is_a_file_here():
    for target in re.findall(r"runbook: (\S+)", (FOLDER / "alerts.yml").read_text()):
        assert (REPOSITORY / target.partition("#")[0]).is_file(), target
