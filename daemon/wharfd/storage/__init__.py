"""Where backups and archives lie, and how they are packed: places, compression, encryption.

What is put there, when and for how long is the plugins' business (backups, retention).
"""

from __future__ import annotations

from .bucket import Bucket
from .disk import sync_folder, write_durably
from .folder import Folder
from .opening import open_place
from .packing import Packed, Packing, make_identity, pack, recipient_of, unpack
from .place import Found, Place, PlaceSettings, copy_object, read_object

__all__ = [
    "Bucket",
    "Folder",
    "Found",
    "Packed",
    "Packing",
    "Place",
    "PlaceSettings",
    "copy_object",
    "make_identity",
    "open_place",
    "pack",
    "read_object",
    "recipient_of",
    "sync_folder",
    "unpack",
    "write_durably",
]
