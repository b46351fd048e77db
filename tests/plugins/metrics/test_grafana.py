"""The shipped dashboard: every query runs on a real Prometheus that scrapes a real daemon."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest
import trio

import wharfd_alerts
import wharfd_metrics

pytestmark = pytest.mark.slow

FOLDER = Path(wharfd_metrics.__file__).parent
DASHBOARD = json.loads((FOLDER / "grafana/wharfd.json").read_text())
QUERIES = [
    target["expr"].replace("$instance", ".*")
    for panel in DASHBOARD["panels"]
    for target in panel.get("targets", [])
]
MISSING = "PROMETHEUS IS NOT INSTALLED: the dashboard's queries and the scrape example are not tested (apt install prometheus)"


def test_the_dashboard_is_whole():
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    assert len(QUERIES) >= 15
    assert all(
        panel["datasource"]["uid"] == "${datasource}" for panel in DASHBOARD["panels"] if "targets" in panel
    )


async def test_every_metric_the_dashboard_names_is_shown(metrics):
    async with metrics(plugins={"alerts": wharfd_alerts}) as d:
        await d.post("/api/v1/monitoring/database/publish-metrics")
        await d.context("alerts").state["sampler"].report()
        shown = (await d.get("/metrics")).body.decode()
    described = set(re.findall(r"^# TYPE (\S+) ", shown, re.MULTILINE))
    for name in {n for query in QUERIES for n in re.findall(r"(?:wharfd|process)_[a-z0-9_]+", query)}:
        assert name.removesuffix("_bucket") in described, f"no daemon shows {name}"


@pytest.mark.skipif(shutil.which("promtool") is None, reason=MISSING)
def test_the_scrape_example_is_well_formed(tmp_path):
    text = (FOLDER / "prometheus/scrape.yml").read_text()
    rules = Path(wharfd_alerts.__file__).parent / "prometheus/alerts.yml"
    text = text.replace("/etc/prometheus/wharfd/alerts.yml", str(rules))
    (tmp_path / "token").write_text("t")
    text = text.replace("/etc/prometheus/wharfd/token", str(tmp_path / "token"))
    (tmp_path / "prometheus.yml").write_text(text)
    run = subprocess.run(
        ["promtool", "check", "config", str(tmp_path / "prometheus.yml")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.skipif(shutil.which("prometheus") is None, reason=MISSING)
async def test_every_query_of_the_dashboard_runs(metrics, tmp_path):
    async with metrics(plugins={"alerts": wharfd_alerts}) as d:
        await d.post("/api/v1/monitoring/database/publish-metrics")
        config = tmp_path / "prometheus.yml"
        config.write_text(
            "global: {scrape_interval: 1s}\nscrape_configs:\n  - job_name: wharfd\n"
            f"    authorization: {{credentials: '{d.token}'}}\n"
            f"    static_configs: [{{targets: ['{d.api.removeprefix('http://')}']}}]\n"
        )
        port = free_port()
        command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'tsdb'}"]
        command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
        base = f"http://127.0.0.1:{port}/api/v1/query?query="

        async def ask(query):
            answer = (await d.request("GET", quote(query), base=base, token=None)).json()
            assert answer["status"] == "success", (query, answer)
            return answer["data"]["result"]

        async with trio.open_nursery() as nursery:
            process = await nursery.start(trio.run_process, command)
            try:
                with trio.fail_after(60):
                    while not await scraped(ask):
                        await trio.sleep(0.2)
                found = {query: await ask(query) for query in QUERIES}
            finally:
                process.terminate()
                nursery.cancel_scope.cancel()
        empty = [query for query, result in found.items() if not result]
        assert [q for q in empty if "rate(" not in q and "pushes" not in q and "hit_ratio" not in q] == []


async def scraped(ask):
    try:
        result = await ask("count_over_time(wharfd_loop_tasks[1m])")
    except Exception:
        return False  # it does not listen yet
    return bool(result) and float(result[0]["value"][1]) >= 2


def free_port():
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
