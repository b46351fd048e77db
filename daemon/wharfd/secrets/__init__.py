"""Secrets: the value that hides itself, where it is read from, and the vault that seals it."""

from __future__ import annotations

from .keyfile import load_master_keys, load_or_make_master_key
from .keys import DataKey, MasterKey, MasterKeys, WrappedKey
from .sources import SecretReading, read_secret, resolve_secret
from .value import Secret
from .vault import KeyStore, Vault

__all__ = [
    "DataKey",
    "KeyStore",
    "MasterKey",
    "MasterKeys",
    "Secret",
    "SecretReading",
    "Vault",
    "WrappedKey",
    "load_master_keys",
    "load_or_make_master_key",
    "read_secret",
    "resolve_secret",
]
