"""Be a customer: ask the wharfd of this machine to be told of payments, and check who says so."""

import argparse
import base64
import hashlib
import hmac
import json
import sys
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path


def verify(secret: str, headers: dict, body: bytes, tolerance: int = 300) -> bool:
    message_id, timestamp = headers["webhook-id"], headers["webhook-timestamp"]
    if abs(time.time() - int(timestamp)) > tolerance:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_")) if secret.startswith("whsec_") else secret.encode()
    signed = f"{message_id}.{timestamp}.".encode() + body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    given = [part[3:] for part in headers["webhook-signature"].split(" ") if part.startswith("v1,")]
    return any(hmac.compare_digest(expected, one) for one in given)


class Receiver(BaseHTTPRequestHandler):
    """Takes a delivery, believes it only when it is signed, and says what it was."""

    secret = ""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        good = verify(self.secret, self.headers, body)
        self.send_response(204 if good else 401)
        self.end_headers()
        say("told, and the signature holds:" if good else "NOT SIGNED BY WHARFD:", body.decode())

    def log_message(self, *_: object) -> None:
        """Say nothing but the above."""


def say(*words: str) -> None:
    """Print at once."""
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


def register(api: str, token: str, url: str) -> str:
    """Ask to be told of payments at `url`; return the secret that will sign, which is shown this once."""
    request = urllib.request.Request(  # noqa: S310
        f"{api}/api/v1/webhooks",
        json.dumps({"url": url, "events": ["payment.*"]}).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        return json.load(answer)["secret"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("api", nargs="?", default="http://127.0.0.1:8470")
    parser.add_argument("state_dir", nargs="?", default=".wharfd", type=Path)
    given = parser.parse_args()
    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        here = f"http://127.0.0.1:{server.server_port}/"
        Receiver.secret = register(given.api, (given.state_dir / "admin.token").read_text().strip(), here)
        say(f"{here} is told of payments; ctrl-c ends it")
        server.serve_forever()
