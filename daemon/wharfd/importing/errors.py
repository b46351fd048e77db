"""What can go wrong with an import as a whole; a row that does not fit is `Unfit`, and no error."""

from __future__ import annotations

from ..errors import WharfdError


class SourceError(WharfdError):
    """The old data cannot be read."""


class ImportRefused(WharfdError):
    """The import cannot be done like this."""
