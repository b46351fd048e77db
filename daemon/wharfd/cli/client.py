"""Talk to a running daemon over its API: the CLI has no other way in."""

from __future__ import annotations

import http.client
import os
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec

from ..errors import WharfdError


class ClientError(WharfdError):
    """The daemon could not be asked, or refused."""

    def __init__(
        self, message: str, *, status: int | None = None, problem: Mapping[str, Any] | None = None
    ) -> None:
        self.status = status
        self.problem = problem or {}
        super().__init__(message)


@dataclass(frozen=True)
class Answer:
    """One answer: status, headers in lower case, and the body as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the decoded body; None when there is none."""
        return msgspec.json.decode(self.body) if self.body else None


class Client:
    """Calls the API of one daemon, with a key that is given or the admin token of the state folder."""

    def __init__(self, url: str, token: str | None = None, *, token_file: Path | None = None) -> None:
        self.url = url.rstrip("/")
        self._parts = urlsplit(self.url)
        self._given = token
        self._token_file = token_file

    @classmethod
    def for_daemon(cls, bind: str, state_dir: Path, environ: Mapping[str, str] = os.environ) -> Client:
        """Return a client for the daemon that listens on `bind`, or for `WHARFD_URL`."""
        host, _, port = bind.rpartition(":")
        local = "127.0.0.1" if host in ("0.0.0.0", "[::]", "") else host
        url = environ.get("WHARFD_URL") or f"http://{local}:{port}"
        # The admin token of this machine's daemon must not travel to another one.
        here = urlsplit(url).hostname in ("127.0.0.1", "::1", "localhost", local.strip("[]"))
        token = environ.get("WHARFD_TOKEN") or environ.get("WHARFD_KEY")
        return cls(url, token, token_file=state_dir / "admin.token" if here else None)

    @property
    def _token(self) -> str | None:
        if self._given is not None or self._token_file is None:
            return self._given
        try:
            return self._token_file.read_text().strip()
        except FileNotFoundError:
            return None
        except PermissionError:
            raise ClientError(
                f"{self._token_file} is not yours to read; run as the daemon's user or set WHARFD_TOKEN"
            ) from None

    def get(self, path: str, **query: Any) -> Any:
        """GET and return the decoded answer."""
        given = {name: str(value) for name, value in query.items() if value is not None}
        return self.call("GET", path + (f"?{urlencode(given)}" if given else "")).json()

    def post(self, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None) -> Any:
        """POST a JSON body and return the decoded answer."""
        return self.call("POST", path, body, headers=headers).json()

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
    ) -> Answer:
        """Send one request; raises `ClientError` with the daemon's own sentence when it is refused.

        `body` is bytes, a file opened for reading bytes (sent piece by piece), or becomes JSON.
        """
        plain = isinstance(body, bytes) or hasattr(body, "read")
        raw = body if plain else None if body is None else msgspec.json.encode(body)
        sent = {"Accept": "application/json", "Content-Type": "application/json", **(headers or {})}
        token = self._token
        if token:
            sent.setdefault("Authorization", f"Bearer {token}")
        connection = self._connect(timeout)
        try:
            connection.request(method, path, body=raw, headers=sent)
            response = connection.getresponse()
            answer = Answer(
                response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
            )
        except (OSError, http.client.HTTPException) as error:
            raise ClientError(
                "the API listens on a port it chose itself ([http] bind has 0); give its address with --url"
                if self._parts.port == 0
                else f"no wharfd answers at {self.url} ({error}); start it with: wharfd run"
            ) from None
        finally:
            connection.close()
        if answer.status >= 400:
            raise self._refusal(answer)
        return answer

    def stream(self, path: str) -> Iterator[bytes]:
        """GET and yield the answer line by line as it arrives, without a time limit."""
        connection = self._connect(timeout=None)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {self._token or ''}"})
            response = connection.getresponse()
            if response.status >= 400:
                raise self._refusal(Answer(response.status, {}, response.read()))
            yield from response
        except (OSError, http.client.HTTPException) as error:
            raise ClientError(f"the connection to {self.url} was lost ({error})") from None
        finally:
            connection.close()

    def _connect(self, timeout: float | None = 30.0) -> http.client.HTTPConnection:
        host, port = self._parts.hostname or "127.0.0.1", self._parts.port
        if self._parts.scheme == "https":
            return http.client.HTTPSConnection(
                host, port, timeout=timeout, context=ssl.create_default_context()
            )
        return http.client.HTTPConnection(host, port, timeout=timeout)

    @staticmethod
    def _refusal(answer: Answer) -> ClientError:
        try:
            problem = msgspec.json.decode(answer.body, type=dict[str, Any])
        except msgspec.DecodeError:
            problem = {}
        text = (
            problem.get("detail")
            or problem.get("message")
            or problem.get("title")
            or f"status {answer.status}"
        )
        if answer.status == 401:
            text += "; the token in STATE_DIR/admin.token, or a key in WHARFD_KEY, opens it"
        return ClientError(str(text), status=answer.status, problem=problem)
