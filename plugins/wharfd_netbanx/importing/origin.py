"""Which of the configured sources the old dashboard's rows belong to."""

from __future__ import annotations

from ..config import Settings

SYSTEM = "netbanx dashboard"
MARK = "import"  # stands where the id of an event stands that a row was derived from


def source_of(settings: Settings) -> str:
    """Return the source named netbanx, or else the first one that Paysafe posts to."""
    if "netbanx" in settings.sources:
        return "netbanx"
    paysafe = (name for name, source in settings.sources.items() if source.scheme == "paysafe")
    return next(paysafe, "netbanx")
