"""XAES-256-GCM: AES-GCM with a 192-bit random nonce, as published at c2sp.org/XAES-256-GCM.

Plain AES-GCM with a random 96-bit nonce must not seal more than 2^32 values under one key, a count that
several daemons on one database cannot keep. Here the first half of the nonce derives a key of its own for
every value, so one data key safely seals 2^80 values and nobody has to count.
What is sealed, under which key and for which place is decided in `sealed.py` and `keys.py`.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
NONCE_BYTES = 24
TAG_BYTES = 16

_BLOCK_BITS = 128
_DOUBLING = 0x87  # the reduction constant of CMAC (NIST SP 800-38B)


def encrypt(key: bytes, plaintext: bytes, associated: bytes, *, nonce: bytes | None = None) -> bytes:
    """Return nonce + ciphertext + tag. The nonce is random; a test vector brings its own."""
    nonce = os.urandom(NONCE_BYTES) if nonce is None else nonce
    return nonce + AESGCM(_derive(key, nonce)).encrypt(nonce[12:], plaintext, associated)


def decrypt(key: bytes, sealed: bytes, associated: bytes) -> bytes | None:
    """Return the plaintext, or None when a bit of the value, the key or `associated` is not as it was."""
    if len(sealed) < NONCE_BYTES + TAG_BYTES:
        return None
    nonce = sealed[:NONCE_BYTES]
    try:
        return AESGCM(_derive(key, nonce)).decrypt(nonce[12:], sealed[NONCE_BYTES:], associated)
    except InvalidTag:
        return None


def _derive(key: bytes, nonce: bytes) -> bytes:
    if len(key) != KEY_BYTES or len(nonce) != NONCE_BYTES:
        raise ValueError(f"XAES-256-GCM needs a {KEY_BYTES}-byte key and a {NONCE_BYTES}-byte nonce")
    # Single blocks of AES are the building stone of CMAC, nothing is encrypted in this mode.
    block = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305
    doubled = int.from_bytes(block.update(bytes(16)), "big") << 1
    if doubled >> _BLOCK_BITS:
        doubled = (doubled ^ _DOUBLING) & ((1 << _BLOCK_BITS) - 1)
    halves = b""
    for counter in (1, 2):
        message = bytes((0, counter)) + b"X\0" + nonce[:12]
        halves += (int.from_bytes(message, "big") ^ doubled).to_bytes(16, "big")
    return block.update(halves)
