"""The receiver snippets of the docs verify what the plugin signs, and refuse what it did not."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

import wharfd_webhooks
from wharfd_webhooks.model.keys import new_key, read_key
from wharfd_webhooks.model.signing import sign

ROOT = Path(wharfd_webhooks.__file__).parent
DOCS = ROOT.parents[1] / "docs" / "webhooks.md"
BODY = '{"id":"evt_1","data":{"name":"Zoë"}}'


def snippet(language):
    (code,) = re.findall(rf"```{language}\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    return code


def cases():
    now = int(time.time())
    key, other = new_key(), new_key()
    plain = read_key("a plain secret of enough characters")
    good = sign("evt_1", now, BODY.encode(), [other, key])
    table = [
        (key.text, "evt_1", now, good, BODY, True),
        (plain.text, "evt_1", now, sign("evt_1", now, BODY.encode(), [plain]), BODY, True),
        (key.text, "evt_2", now, good, BODY, False),
        (key.text, "evt_1", now + 1, good, BODY, False),
        (key.text, "evt_1", now, good, BODY + " ", False),
        (key.text, "evt_1", now, sign("evt_1", now, BODY.encode(), [other]), BODY, False),
        (key.text, "evt_1", now - 900, sign("evt_1", now - 900, BODY.encode(), [key]), BODY, False),
    ]
    return [
        {
            "secret": s,
            "body": b,
            "good": ok,
            "headers": {"webhook-id": i, "webhook-timestamp": str(t), "webhook-signature": sig},
        }
        for s, i, t, sig, b, ok in table
    ]


def test_python():
    scope = {}
    exec(snippet("python"), scope)
    for case in cases():
        assert scope["verify"](case["secret"], case["headers"], case["body"].encode()) is case["good"], case


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_node(tmp_path):
    program = tmp_path / "verify.js"
    check = """
for (const c of JSON.parse(require("node:fs").readFileSync(0))) {
  if (verify(c.secret, c.headers, c.body) !== c.good) { console.error(c); process.exit(1); }
}"""
    program.write_text(snippet("javascript") + check)
    run("node", str(program))


@pytest.mark.skipif(shutil.which("go") is None, reason="go is not installed")
def test_go(tmp_path):
    imports = [
        "crypto/hmac",
        "crypto/sha256",
        "encoding/base64",
        "encoding/json",
        "os",
        "strconv",
        "strings",
        "time",
    ]
    main = """
type testCase struct { Secret, Body string; Good bool; Headers map[string]string }
func main() {
	var cases []testCase
	if err := json.NewDecoder(os.Stdin).Decode(&cases); err != nil { panic(err) }
	for _, c := range cases {
		got := Verify(c.Secret, func(n string) string { return c.Headers[n] }, []byte(c.Body), 5*time.Minute)
		if got != c.Good { println(c.Body, got); os.Exit(1) }
	}
}"""
    program = tmp_path / "main.go"
    lines = "\n".join(f'import "{name}"' for name in imports)
    program.write_text(f"package main\n{lines}\n{snippet('go')}{main}")
    run("go", "run", str(program))


@pytest.mark.skipif(shutil.which("php") is None, reason="THE PHP SNIPPET IS NOT TESTED: php is not installed")
def test_php(tmp_path):
    check = """
foreach (json_decode(stream_get_contents(STDIN), true) as $c) {
    if (verify($c['secret'], $c['headers'], $c['body']) !== $c['good']) { fwrite(STDERR, $c['body']); exit(1); }
}"""
    program = tmp_path / "verify.php"
    program.write_text(f"<?php\n{snippet('php')}{check}")
    run("php", str(program))


def run(*command):
    done = subprocess.run(
        command, input=json.dumps(cases()).encode(), capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()


def test_the_readme_has_its_headings_and_names_every_option_and_table():
    from dataclasses import fields

    from wharfd_webhooks.config import Settings

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    headings = ["What it does", "Options", "Routes", "Tables", "Work and schedules", "Events"]
    headings += ["Metrics and alerts", "When it breaks"]
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == headings
    example = (ROOT / "example.toml").read_text(encoding="utf-8")
    for field in fields(Settings):
        assert f"`{field.name}`" in text, field.name
        assert re.search(rf"^#? ?{field.name} =", example, re.MULTILINE), field.name
    sql = (ROOT / "migrations" / "0001_init.sql").read_text(encoding="utf-8")
    for table in re.findall(r"CREATE TABLE (webhooks\.\w+)", sql):
        assert table in text, table
    for route in wharfd_webhooks.register_routes(Settings()):
        assert f"{route.method} {route.path}" in text, (route.method, route.path)
    for metric in wharfd_webhooks.register_metrics(Settings()):
        assert metric.name in text, metric.name
