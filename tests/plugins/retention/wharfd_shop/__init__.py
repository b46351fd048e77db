"""A shop with tables of every kind that retention has to do with."""

from datetime import timedelta

from wharfd import Migrations, RetentionRule, hookimpl

RULES = [
    RetentionRule(name="events", table="shop.events", column="at", keep=timedelta(days=90), key=("at", "id"),
                  partitioned=True),
    RetentionRule(name="notes", table="shop.notes", column="made_at", keep=timedelta(days=30)),
    RetentionRule(name="pings", table="shop.pings", column="at", keep=timedelta(days=1), key=("at", "n"),
                  archive=False),
    RetentionRule(name="jobs", table="shop.jobs", column="due_at", keep=timedelta(days=1)),
]  # fmt: skip


@hookimpl
def register_migrations():
    """Tables."""
    return Migrations(__name__, partitioned=("shop.events",))


@hookimpl
def register_retention():
    """Rules."""
    return RULES
