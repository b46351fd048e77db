"""Taking deliveries without a valid signature: for a try-out, when the operator asked for it in writing."""

from __future__ import annotations

from datetime import datetime

import msgspec

from .interface import Headers, Reason, Verdict, Verifier


class Unchecked:
    """Accepts everything; what `inner` would have refused is marked `unchecked` and never looks verified."""

    def __init__(self, inner: Verifier | None = None) -> None:
        self._inner = inner
        self.scheme = f"{inner.scheme} (unchecked)" if inner else "unchecked"

    def verify(
        self, headers: Headers, body: bytes, now: datetime, certificate: bytes | None = None
    ) -> Verdict:
        """Return the inner verdict when it is good, otherwise an acceptance that says it is none."""
        if self._inner is None:
            return Verdict(ok=True, reason=Reason.UNCHECKED)
        verdict = self._inner.verify(headers, body, now, certificate)
        if verdict.ok:
            return verdict
        items = tuple(
            msgspec.structs.replace(item, ok=True, reason=Reason.UNCHECKED) for item in verdict.items
        )
        return Verdict(ok=True, reason=Reason.UNCHECKED, items=items)
