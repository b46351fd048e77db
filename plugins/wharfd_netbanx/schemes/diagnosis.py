"""`explain`: try every usual reading of a key and a signature on one stored delivery, offline.

Nothing here is used to accept anything. It exists so that the accepting side never has to guess.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from .hmac_body import ENCODERS, read_timestamp
from .interface import MAX_HEADER_BYTES, Headers

_LIKELY = re.compile(rb"sign|hmac|digest|hash", re.IGNORECASE)
_PREFIX = re.compile(rb"^(sha\d{1,3}=|SHA\d{1,3}=|v1,|v1=)?(.+)$", re.DOTALL)
# Signatures of one header stand apart by blanks, or by a comma before the next name.
_BETWEEN = re.compile(rb"\s+|,(?=\w{1,6}=)")
_HEX = re.compile(r"^(?:[0-9a-fA-F]{2})+$")
_DIGESTS = ("sha256", "sha512", "sha384", "sha1")
_MAX_KEYS, _MAX_VALUES = 20, 40


@dataclass(frozen=True)
class Finding:
    """One thing `explain` found out. `fits` says that the signature was reproduced with `settings`."""

    fits: bool
    sentence: str
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Reading:
    """One way to turn typed text into key bytes; `encoding` is the setting, None when none does that."""

    name: str
    encoding: str | None
    secret: bytes = field(repr=False)
    remark: str = ""


@dataclass(frozen=True)
class _Presented:
    header: str
    prefix: str
    value: bytes
    signed: tuple[tuple[str, bytes], ...]


def explain(
    raw_body: bytes,
    headers: Headers,
    keys_as_typed: Sequence[str],
    *,
    public_url: str | None = None,
) -> list[Finding]:
    """Say which settings reproduce the signature of a delivery, or what is most likely wrong.

    Findings that fit come first. Keys are named by their place in the list and never shown.
    """
    presented = list(_presented(raw_body, headers, public_url))
    if not presented:
        return [
            Finding(
                False,
                "no header of this delivery looks like a signature; was it sent by the provider, and does "
                "the proxy in front pass the Signature header on",
            )
        ]
    if not keys_as_typed:
        return [Finding(False, "there is no key to try; give the key as the provider's portal shows it")]
    fits: list[Finding] = []
    remarks: list[Finding] = []
    for number, typed in enumerate(keys_as_typed[:_MAX_KEYS], 1):
        readings = list(_readings(typed))
        if not readings:
            remarks.append(Finding(False, f"key {number} is empty"))
        for reading in readings:
            fits.extend(
                finding for candidate in presented for finding in _matches(number, reading, candidate)
            )
    if fits:
        return fits + remarks
    return remarks + _why_not(presented, keys_as_typed)


def _readings(typed: str) -> Iterator[_Reading]:
    text = typed.strip()
    if not text:
        return
    padded = text + "=" * (-len(text) % 4)
    decoded = _unbase64(text)
    if decoded:
        remark = ""
        if _is_hex_text(decoded):
            remark = (
                f"the key decodes to {len(decoded)} hexadecimal characters and these characters are the key: "
                "decode it once (base64), not a second time from hexadecimal"
            )
        yield _Reading("base64", "base64", decoded, remark)
    elif (repaired := _unbase64(padded.replace("-", "+").replace("_", "/"))) is not None:
        yield _Reading(
            "base64url or base64 without its padding",
            "base64",
            repaired,
            "write the key as standard base64 with its padding: "
            "replace - by +, _ by / and add = until the length is a multiple of 4",
        )
    remark = ""
    if _HEX.match(text) and len(text) >= 32:
        remark = (
            "the key as typed is hexadecimal text and its characters are the key; the portal shows it in "
            "base64, and what was typed here is already decoded"
        )
    yield _Reading("plain text", "utf8", text.encode(), remark)
    if text != typed:
        yield _Reading(
            "plain text with its blanks",
            None,
            typed.encode(),
            "the key carries blanks or a line end at its edges; wharfd strips them, so "
            "the sender's copy is wrong",
        )
    if _HEX.match(text):
        yield _Reading("hexadecimal", "hex", binascii.unhexlify(text))
    if decoded and _is_hex_text(decoded):
        yield _Reading(
            "hexadecimal inside base64",
            None,
            binascii.unhexlify(decoded),
            "the sender decodes the key twice, base64 and then hexadecimal; write the decoded hexadecimal "
            'text as the key and set key_encoding = "hex"',
        )


def _matches(number: int, reading: _Reading, candidate: _Presented) -> Iterator[Finding]:
    for what, message in candidate.signed:
        for digest in _DIGESTS:
            raw = hmac.digest(reading.secret, message, digest)
            for encoding, encode in ENCODERS.items():
                if not hmac.compare_digest(encode(raw), candidate.value):
                    continue
                yield _finding(number, reading, candidate, what, digest, encoding)
                return  # hex and hex_upper agree on a digest without letters; one of them is enough


def _finding(
    number: int, reading: _Reading, candidate: _Presented, what: str, digest: str, encoding: str
) -> Finding:
    settings = {"signature_header": candidate.header}
    if reading.encoding is not None:
        settings["key_encoding"] = reading.encoding
    if (what, digest, encoding, candidate.prefix) != ("the body", "sha256", "base64", ""):
        settings |= {"digest": digest, "digest_encoding": encoding, "prefix": candidate.prefix}
    written = ", ".join(f'{name} = "{value}"' for name, value in settings.items() if value)
    sentence = (
        f"key {number} read as {reading.name} signs {what} with HMAC-{digest.upper()} in {encoding} "
        f"as header {candidate.header} has it: set {written}"
    )
    return Finding(True, sentence + (f"; {reading.remark}" if reading.remark else ""), settings)


def _presented(body: bytes, headers: Headers, public_url: str | None) -> Iterator[_Presented]:
    signed = [("the body", body)]
    if body.strip() != body:
        signed.append(("the body without the blanks around it", body.strip()))
    if public_url:
        signed.append((f"the public URL {public_url} and the body", public_url.encode() + body))
    stamp, identifier = headers.text(b"webhook-timestamp"), headers.text(b"webhook-id")
    if stamp and identifier:
        signed.append(("id, timestamp and body", f"{identifier}.{stamp}.".encode() + body))
    count = 0
    for name, value in headers:
        if not _LIKELY.search(name) or len(value) > MAX_HEADER_BYTES:
            continue
        header, texts = name.decode("latin-1"), list(signed)
        tokens = [token.strip() for token in _BETWEEN.split(value) if token.strip()]
        stamps = [token[2:] for token in tokens if token.startswith(b"t=") and read_timestamp(token[2:])]
        texts += [("time and body", stamp + b"." + body) for stamp in stamps]
        for token in tokens:
            match = _PREFIX.match(token.strip(b'"'))
            if match is None or token.startswith(b"t="):
                continue
            count += 1
            if count > _MAX_VALUES:
                return
            yield _Presented(header, (match[1] or b"").decode(), match[2], tuple(texts))


def _why_not(presented: Sequence[_Presented], keys: Sequence[str]) -> list[Finding]:
    names = ", ".join(sorted({candidate.header for candidate in presented}))
    tried = f"{len(keys)} key{'s' if len(keys) != 1 else ''}"
    findings = [
        Finding(
            False,
            f"no reading of {tried} (base64, plain text, hexadecimal, hexadecimal inside base64) reproduces "
            f"the value of {names}, with sha256, sha512, sha384 or sha1, in base64 or hexadecimal",
        ),
        Finding(
            False,
            "most likely the key is another one: compare it with the portal (live or test, this endpoint or "
            "another, before or after a rotation)",
        ),
        Finding(
            False,
            "or the body was changed on its way: a proxy that reformats, re-encodes or unpacks it breaks "
            "every signature; the stored bytes must be those the provider sent",
        ),
    ]
    sizes = {20: "sha1", 32: "sha256", 48: "sha384", 64: "sha512"}
    for candidate in presented:
        raw = _unbase64(candidate.value.decode("latin-1"))
        if _HEX.match(candidate.value.decode("latin-1")):
            raw = binascii.unhexlify(candidate.value)
        if raw is not None and len(raw) not in sizes:
            findings.append(
                Finding(
                    False,
                    f"header {candidate.header} carries {len(raw)} bytes, which is no HMAC of a known size; "
                    "it may be a certificate or public key signature (PayPal, Standard Webhooks v1a)",
                )
            )
    return findings


def _is_hex_text(secret: bytes) -> bool:
    return len(secret) >= 32 and secret.isascii() and bool(_HEX.match(secret.decode("ascii")))


def _unbase64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True) or None
    except (binascii.Error, ValueError):
        return None
