"""Which kind of place the configuration names."""

from __future__ import annotations

from .bucket import Bucket
from .folder import Folder
from .place import Place, PlaceSettings


def open_place(settings: PlaceSettings) -> Place:
    """Return the place; nothing is touched before its first use."""
    return Folder(settings.folder) if settings.folder is not None else Bucket(settings)
