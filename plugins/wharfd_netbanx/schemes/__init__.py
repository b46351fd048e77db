"""Signature schemes: one file per family, one verifier interface, presets by name."""

from __future__ import annotations

from .diagnosis import Finding, explain
from .interface import Answer, Headers, Item, Reason, Signer, Verdict, Verifier, refuse
from .keys import Key, KeyEncoding, KeyRing, key_remarks
from .paypal import PayPal
from .presets import PRESETS, IdentityRule, Preset, SchemeName, find_preset, make_key, make_verifier
from .unchecked import Unchecked

__all__ = [
    "PRESETS",
    "Answer",
    "Finding",
    "Headers",
    "IdentityRule",
    "Item",
    "Key",
    "KeyEncoding",
    "KeyRing",
    "PayPal",
    "Preset",
    "Reason",
    "SchemeName",
    "Signer",
    "Unchecked",
    "Verdict",
    "Verifier",
    "explain",
    "find_preset",
    "key_remarks",
    "make_key",
    "make_verifier",
    "refuse",
]
