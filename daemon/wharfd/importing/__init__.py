"""Taking over the rows of the systems that wharfd replaces: read, convert, write, compare.

Which tables there are and what becomes of their rows is declared by the plugins (`register_importers`); here
is the walk over a source, the place where it is kept how far it came, and the comparison at the end.
"""

from __future__ import annotations

from .rows import OldRow, Unfit, columns_of, stored_of

__all__ = ["OldRow", "Unfit", "columns_of", "stored_of"]
