"""The named schemes an operator can choose from, and the two functions that turn settings into a verifier."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from .adyen import AdyenItems
from .hmac_body import HmacBody
from .interface import Verifier
from .keys import Key, KeyEncoding
from .legacy_upp import LegacyUpp
from .paypal import PayPal
from .timestamped import StandardWebhooks, Stripe, standard_key

IdentityRule = Literal["paysafe", "provider_id", "content"]
SchemeName = Literal[
    "paysafe",
    "stripe",
    "github",
    "shopify",
    "square",
    "adyen",
    "adyen-header",
    "coinbase-commerce",
    "paypal",
    "standard-webhooks",
    "hmac",
    "legacy-upp",
]


@dataclass(frozen=True)
class Preset:
    """What is known of a provider: how it signs, how its keys are written, how its events are told apart.

    `options` are the constructor's, and a source may override them; `takes` names the settings the scheme
    understands, so that a setting without effect is refused; `needs` those it cannot do without.
    `identity` is the default rule for duplicates.
    """

    make: Callable[..., Verifier]
    summary: str
    key_encoding: KeyEncoding = "utf8"
    identity: IdentityRule = "content"
    needs_keys: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    takes: frozenset[str] = frozenset()
    needs: tuple[str, ...] = ()


_HMAC_TAKES = frozenset({"signature_header"})

PRESETS: dict[SchemeName, Preset] = {
    "paysafe": Preset(
        HmacBody,
        "Paysafe and NetBanx: Signature = base64(HMAC-SHA256(key, body)), the key base64-decoded first",
        key_encoding="base64",
        identity="paysafe",
        options={"signature_header": "Signature"},
        takes=_HMAC_TAKES,
    ),
    "github": Preset(
        HmacBody,
        "GitHub: X-Hub-Signature-256 = sha256=hex(HMAC-SHA256(key, body))",
        identity="provider_id",
        options={
            "signature_header": "X-Hub-Signature-256",
            "digest_encoding": "hex",
            "prefix": "sha256=",
            "id_header": "X-GitHub-Delivery",
        },
        takes=_HMAC_TAKES,
    ),
    "shopify": Preset(
        HmacBody,
        "Shopify: X-Shopify-Hmac-SHA256 = base64(HMAC-SHA256(key, body))",
        identity="provider_id",
        options={"signature_header": "X-Shopify-Hmac-SHA256", "id_header": "X-Shopify-Webhook-Id"},
        takes=_HMAC_TAKES,
    ),
    "coinbase-commerce": Preset(
        HmacBody,
        "Coinbase Commerce: X-CC-Webhook-Signature = hex(HMAC-SHA256(key, body))",
        identity="provider_id",
        options={
            "signature_header": "X-CC-Webhook-Signature",
            "digest_encoding": "hex",
            "id_field": ("event", "id"),
        },
        takes=_HMAC_TAKES,
    ),
    "square": Preset(
        HmacBody,
        "Square: x-square-hmacsha256-signature = base64(HMAC-SHA256(key, public_url + body))",
        identity="provider_id",
        options={
            "signature_header": "x-square-hmacsha256-signature",
            "signed": "{url}{body}",
            "id_field": ("event_id",),
        },
        takes=_HMAC_TAKES | {"public_url"},
    ),
    "stripe": Preset(
        Stripe,
        "Stripe: Stripe-Signature = t=…,v1=hex(HMAC-SHA256(key, t.body)); the whsec_ text is the key",
        identity="provider_id",
        takes=frozenset({"tolerance"}),
    ),
    "standard-webhooks": Preset(
        StandardWebhooks,
        "Standard Webhooks: webhook-signature = v1,base64(HMAC-SHA256(key, id.timestamp.body)), or v1a",
        key_encoding="base64",
        identity="provider_id",
        takes=frozenset({"tolerance", "header_prefix"}),
    ),
    "adyen": Preset(
        AdyenItems,
        "Adyen payments: one hmacSignature per item inside the body; the hexadecimal key; answers [accepted]",
        key_encoding="hex",
        identity="provider_id",
    ),
    "adyen-header": Preset(
        HmacBody,
        "Adyen platforms and management: HmacSignature = base64(HMAC-SHA256(hexadecimal key, body))",
        key_encoding="hex",
        options={"signature_header": "HmacSignature"},
        takes=_HMAC_TAKES,
    ),
    "paypal": Preset(
        PayPal,
        "PayPal: SHA256withRSA over id|time|webhook id|crc32(body), by a certificate on PayPal's own host",
        identity="provider_id",
        needs_keys=False,
        needs=("webhook_id", "ca_bundle"),
        takes=frozenset({"webhook_id", "ca_bundle", "certificate_hosts", "tolerance"}),
    ),
    "hmac": Preset(
        HmacBody,
        "Any provider that puts an HMAC of the body into one header",
        needs=("signature_header",),
        takes=_HMAC_TAKES
        | {
            "digest",
            "digest_encoding",
            "prefix",
            "signed",
            "public_url",
            "timestamp_header",
            "tolerance",
            "id_header",
            "id_field",
        },
    ),
    "legacy-upp": Preset(
        LegacyUpp,
        "NETBANX hosted page of old: form post with a SHA-1 checksum; weak, needs allow_weak_checksum",
        takes=frozenset({"allow_weak_checksum"}),
    ),
}


def find_preset(scheme: str) -> Preset:
    """Return the preset called `scheme`; raises ValueError with the nearest name."""
    for name, preset in PRESETS.items():
        if name == scheme:
            return preset
    close = difflib.get_close_matches(scheme, PRESETS, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(PRESETS))}"
    raise ValueError(f"scheme: {scheme!r} is unknown; {hint}")


def make_key(
    scheme: str,
    text: str,
    encoding: KeyEncoding | None = None,
    *,
    id: str | None = None,
    valid_from: datetime | None = None,
    valid_until: datetime | None = None,
) -> Key:
    """Make a key of what an operator typed, by the habits of `scheme`; raises ValueError."""
    preset = find_preset(scheme)
    build = standard_key if preset.make is StandardWebhooks else Key.typed
    return build(text, encoding or preset.key_encoding, id=id, valid_from=valid_from, valid_until=valid_until)


def make_verifier(scheme: str, keys: Sequence[Key] = (), **options: Any) -> Verifier:
    """Make the verifier of `scheme`; raises ValueError for a missing, wrong or meaningless option.

    Options that are None count as not given. A scheme that signs with a key is never made without one.
    """
    preset = find_preset(scheme)
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in preset.takes:
            raise ValueError(f"{name}: has no meaning for scheme {scheme!r}")
    for name in preset.needs:
        if name not in given:
            raise ValueError(f"{name}: missing; scheme {scheme!r} cannot verify without it")
    if preset.needs_keys:
        if not keys:
            raise ValueError("keys: missing; without a key no delivery can be verified")
        return preset.make(keys, scheme=scheme, **{**preset.options, **given})
    if keys:
        raise ValueError(f"keys: have no meaning for scheme {scheme!r}, which verifies by certificate")
    return preset.make(scheme=scheme, **given)
