"""`docs/examples/nginx.conf` in a real nginx: a signed webhook, the API, and who the client was."""

import base64
import hashlib
import hmac
import http.client
import json
import re
import shutil
import ssl
import subprocess
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from wharfd.testing.certificates import Authority

from .conftest import free_port

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "nginx.conf"
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


class Behind(http.client.HTTPSConnection):
    """HTTPS to a name that nginx serves here, from an address of our own."""

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
    text = EXAMPLE.read_text(encoding="utf-8").replace("/etc/wharfd/", f"{folder}/")
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
            yield
        finally:
            running.terminate()


def reached(name, port, authority):
    """Connect, as soon as nginx listens."""
    for _ in range(1_000_000):
        connection = Behind(name, port, authority)
        try:
            connection.connect()
        except ConnectionRefusedError:
            continue
        return connection
    raise AssertionError("nginx does not listen")


@pytest.mark.skipif(NGINX is None, reason="NO NGINX HERE: the shipped example was not tested")
def test_a_signed_webhook_and_the_api_pass_through_nginx(start, tmp_path):
    process = start(CONFIG)
    process.wait_ready()
    authority, port = Authority(), free_port()
    mark = base64.b64encode(hmac.digest(base64.b64decode(KEY), BODY, hashlib.sha256)).decode()
    signed = {"Content-Type": "application/json", "Signature": mark}
    with nginx(tmp_path, process, port, authority):
        with closing(reached("hooks.example.org", port, authority)) as hooks:
            assert hooks.ask("POST", "/webhook", BODY, signed)[0] == 200
            assert hooks.ask("POST", "/webhook", BODY + b" ", signed)[0] == 401
        bearer = {"Authorization": f"Bearer {(process.state / 'admin.token').read_text().strip()}"}
        with closing(reached("wharfd.example.org", port, authority)) as api:
            assert api.ask("GET", "/api/v1/status")[0] == 401
            status, page = api.ask("GET", "/api/v1/webhook-events", headers=bearer)
            assert status == 200
            _, event = api.ask("GET", f"/api/v1/webhook-events/{page['items'][0]['id']}", headers=bearer)
    assert event["body"].encode() == BODY
    assert event["receipt"]["client"] == CLIENT, event
