"""The audit log: who changed what and when; appended to, sealed into a chain of hashes, and searched."""

from __future__ import annotations

from .chain import Seal
from .search import AuditEntry, AuditFilter, AuditPage, Cursor
from .trail import Audit
from .verify import Break, Verification

__all__ = ["Audit", "AuditEntry", "AuditFilter", "AuditPage", "Break", "Cursor", "Seal", "Verification"]
