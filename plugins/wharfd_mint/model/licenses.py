"""License ids: how they look, how new ones are made, and what they are called on the chain."""

from __future__ import annotations

import re
import secrets
from functools import lru_cache

from .keccak import keccak256

# No letter that is read as another one: no I, L, O, U, no 0 or 1.
_ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
_LICENSE = re.compile(r"[A-Z0-9]+(-[A-Z0-9]+)+")
LONGEST = 64


class BadLicense(ValueError):
    """The text is not a license id; the message says why."""


def check_license(text: str) -> str:
    """Return the license id in upper case; raises `BadLicense`."""
    license_id = text.strip().upper()
    if len(license_id) > LONGEST or not _LICENSE.fullmatch(license_id):
        raise BadLicense(f"must look like NODE-7K3QD: letters and digits with dashes, at most {LONGEST}")
    return license_id


def new_license(prefix: str, digits: int) -> str:
    """Make a license id that nobody can guess, such as `NODE-7K3QD`."""
    return f"{prefix}-" + "".join(secrets.choice(_ALPHABET) for _ in range(digits))


@lru_cache(4096)
def license_hash(license_id: str) -> bytes:
    """Return the 32 bytes that stand for the license on the chain."""
    return keccak256(license_id.encode())
