"""Data keys in PostgreSQL: opening the vault at start, and the rotation of master keys and data keys."""

from __future__ import annotations

from .opening import open_vault
from .proving import prove_sealed
from .reseal import Resealed, ResealPlan, plan_reseal, reseal, retire_data_keys
from .rotation import Rewrapped, rotate_master
from .table import DataKeyTable

__all__ = [
    "DataKeyTable",
    "ResealPlan",
    "Resealed",
    "Rewrapped",
    "open_vault",
    "plan_reseal",
    "prove_sealed",
    "reseal",
    "retire_data_keys",
    "rotate_master",
]
