"""`docs/examples/` in a real nginx and a real Caddy: a signed webhook, the API, and who the client was."""

import base64
import hashlib
import hmac
import http.client
import json
import os
import re
import shutil
import ssl
import subprocess
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from wharfd.testing.certificates import Authority

from .conftest import copied, free_port, starting

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
CADDY = shutil.which("caddy")
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/sbin")
KEY = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo="
CONFIG = f"""trusted_proxies = ["127.0.0.1"]
[plugins.netbanx.sources.netbanx]
scheme = "paysafe"
paths = ["/webhook"]
key_encoding = "base64"
keys = ["{KEY}"]
"""
CLIENT = "127.0.0.2"
BODY = b'{"eventName": "PAYMENT_COMPLETED",  "payload": {"id": "p1", "merchantRefNum": "m1", "amount": 100}}'


# One daemon stands behind both proxies, so both tests are of one worker.
pytestmark = pytest.mark.xdist_group("proxy")


class Behind(http.client.HTTPSConnection):
    """HTTPS to a name that the proxy serves here, from an address of our own."""

    def __init__(self, name, port, authority):
        super().__init__(name, context=ssl.create_default_context(cadata=authority.pem), timeout=30)
        self._here = port

    def connect(self):
        self.sock = self._context.wrap_socket(
            self._create_connection(("127.0.0.1", self._here), self.timeout, (CLIENT, 0)),
            server_hostname=self.host,
        )

    def ask(self, method, path, body=None, headers=None):
        self.request(method, path, body, headers or {})
        answer = self.getresponse()
        return answer.status, json.loads(answer.read())


@contextmanager
def nginx(folder, process, port, authority):
    """Run nginx with the shipped example; only ports and files are of the test."""
    pair = authority.issue("wharfd.example.org", "hooks.example.org")
    (folder / "tls.pem").write_text(pair.certificate)
    (folder / "tls.key").write_text(pair.key)
    text = (EXAMPLES / "nginx.conf").read_text(encoding="utf-8").replace("/etc/wharfd/", f"{folder}/")
    text = text.replace(":8470;", f":{process.api};").replace(":8471;", f":{process.ingest};")
    text = re.sub(r"listen 443 ssl", f"listen 127.0.0.1:{port} ssl", text)
    places = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log;\n"
        f"events {{}}\nhttp {{ access_log off; {places}\n{text}\n}}\n"
    )
    command = [NGINX, "-e", f"{folder}/error.log", "-p", str(folder), "-c", f"{folder}/nginx.conf"]
    subprocess.run([*command, "-t"], check=True, capture_output=True)
    with subprocess.Popen(command) as running:
        try:
            yield running
        finally:
            running.terminate()


@contextmanager
def caddy(folder, process, port, authority):
    """Run Caddy with the shipped example; only ports and the certificate, which it would fetch, are of the test."""
    pair = authority.issue("wharfd.example.org", "hooks.example.org")
    (folder / "tls.pem").write_text(pair.certificate)
    (folder / "tls.key").write_text(pair.key)
    text = (EXAMPLES / "Caddyfile").read_text(encoding="utf-8")
    text = text.replace(":8470", f":{process.api}").replace(":8471", f":{process.ingest}")
    given = f"\\1:{port} {{\n\tbind 127.0.0.1\n\ttls {folder}/tls.pem {folder}/tls.key"
    text, sites = re.subn(r"^([a-z.]+example\.org) \{", given, text, flags=re.MULTILINE)
    assert sites == 2
    settings = "{\n\tadmin off\n\tauto_https disable_redirects\n}\n"
    (folder / "Caddyfile").write_text(settings + text)
    environ = {
        **os.environ,
        "HOME": str(folder),
        "XDG_DATA_HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
    }
    command = [CADDY, "run", "--config", f"{folder}/Caddyfile", "--adapter", "caddyfile"]
    with (
        (folder / "caddy.log").open("wb") as log,
        subprocess.Popen(command, env=environ, stderr=log) as running,
    ):
        try:
            yield running
        finally:
            running.terminate()


def reached(name, port, authority, running):
    """Connect, as soon as the proxy listens."""
    for _ in range(1_000_000):
        connection = Behind(name, port, authority)
        try:
            connection.connect()
        except ConnectionRefusedError:
            assert running.poll() is None, "the proxy ended by itself"
            continue
        return connection
    raise AssertionError("the proxy does not listen")


def missing(program, name):
    return pytest.mark.skipif(program is None, reason=f"NO {name} HERE: the shipped example was not tested")


@pytest.fixture(scope="module")
def behind(initialised, tmp_path_factory):
    """A daemon that both proxies stand in front of, one after the other."""
    folder = tmp_path_factory.mktemp("behind")
    with starting(folder) as start:
        process = start(CONFIG, state=copied(initialised, folder / "state"))
        process.wait_ready()
        yield process


@pytest.mark.parametrize(
    "proxy",
    [
        pytest.param(nginx, marks=missing(NGINX, "NGINX")),
        pytest.param(caddy, marks=missing(CADDY, "CADDY")),
    ],
)
def test_a_signed_webhook_and_the_api_pass_through(proxy, behind, tmp_path):
    process = behind
    authority, port = Authority(), free_port()
    body = BODY.replace(b"p1", proxy.__name__.encode())
    mark = base64.b64encode(hmac.digest(base64.b64decode(KEY), body, hashlib.sha256)).decode()
    signed = {"Content-Type": "application/json", "Signature": mark}
    with proxy(tmp_path, process, port, authority) as running:
        with closing(reached("hooks.example.org", port, authority, running)) as hooks:
            assert hooks.ask("POST", "/webhook", body, signed)[0] == 200
            assert hooks.ask("POST", "/webhook", body + b" ", signed)[0] == 401
        bearer = {"Authorization": f"Bearer {(process.state / 'admin.token').read_text().strip()}"}
        with closing(reached("wharfd.example.org", port, authority, running)) as api:
            assert api.ask("GET", "/api/v1/status")[0] == 401
            status, page = api.ask("GET", "/api/v1/webhook-events", headers=bearer)
            assert status == 200
            _, event = api.ask("GET", f"/api/v1/webhook-events/{page['items'][0]['id']}", headers=bearer)
    assert event["body"].encode() == body
    assert event["receipt"]["client"] == CLIENT, event
