"""`integrations` and `integration_usage_logs` of one system before, `companies` and `api_tokens` of another.

Their API keys and tokens were kept in the open and have another form: none is taken over. Every integration
and company needs a new key, and the import says for which and how it is made. A company becomes an
integration whose owner it is, because `companyId` is the owner of everything else that is taken over.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NoReturn

import msgspec

from wharfd import Importer, OldRow, PluginContext, Transaction, Unfit, columns_of, sql, stored_of
from wharfd import Invalid as InvalidConfig

from .config import Settings
from .sealing import open_config, open_webhook_secret, seal_config, seal_webhook_secret

SYSTEM = "webhooks, bulk orders and integrations"
DASHBOARD = "netbanx dashboard"
_NO_TIME = datetime(2000, 1, 1, tzinfo=UTC)  # of a company that does not say when it was made
_SHOWN = 120  # characters of a token's permissions that a remark repeats
_TYPES = ("payment_gateway", "rta", "nav_provider", "email_service", "sms_service", "analytics", "custom")
_STATUSES = ("active", "inactive", "pending", "suspended")

ADD = sql(
    "import_integration",
    """INSERT INTO integrations.integrations (id, owner, name, type, status, config, config_secrets,
  webhook_url, webhook_secret, created_at, created_by, updated_at, last_used_at, usage_count)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'import', $11, $12, $13)
ON CONFLICT (id) DO NOTHING RETURNING id""",
)
READ = sql(
    "read_imported_integrations",
    """SELECT i.id, i.owner, i.name, i.type, i.status, i.config, i.config_secrets, i.webhook_url,
  i.webhook_secret, i.created_at, i.updated_at, i.last_used_at, i.usage_count
FROM unnest($1::text[]) AS g (id) JOIN integrations.integrations i USING (id)""",
)
# The usage log has no key of its own to find an old line by: the old id stands in key_id.
ADD_USAGE = sql(
    "import_usage",
    """INSERT INTO integrations.usage (at, key_id, integration_id, owner, endpoint, method, status, ms, error)
SELECT g.at, g.key_id, g.integration_id, i.owner, g.endpoint, g.method, g.status, g.ms, g.error
FROM unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::text[], $6::smallint[], $7::real[],
  $8::text[]) AS g (at, key_id, integration_id, endpoint, method, status, ms, error)
JOIN integrations.integrations i ON i.id = g.integration_id
WHERE NOT EXISTS (SELECT FROM integrations.usage u WHERE u.key_id = g.key_id AND u.at = g.at)
RETURNING id""",
)
READ_USAGE = sql(
    "read_imported_usage",
    """SELECT u.at, u.key_id, u.integration_id, u.endpoint, u.method, u.status, u.ms, u.error
FROM unnest($1::timestamptz[], $2::text[]) AS g (at, key_id) JOIN integrations.usage u USING (at, key_id)""",
)


class OldIntegration(msgspec.Struct, frozen=True):
    """An integration as it will stand in the table, what is secret of it in the open."""

    id: str
    owner: str | None
    name: str
    type: str
    status: str
    config: dict[str, Any]
    webhook_url: str | None
    webhook_secret: str | None
    created_at: datetime
    updated_at: datetime
    last_used_at: datetime | None
    usage_count: int


class OldUse(msgspec.Struct, frozen=True):
    """A line of the usage log."""

    at: datetime
    key_id: str
    integration_id: str
    endpoint: str
    method: str
    status: int
    ms: float
    error: str | None


def integration_id(old: str) -> str:
    """Return the id an integration keeps, or gets when its old one is not of the form int_…"""
    return old if old.startswith("int_") else f"int_{old}"


def convert(row: OldRow, settings: Settings) -> OldIntegration:
    """Return the integration without its key pair."""
    created, status = row.moment("created_at"), row.word("status", _STATUSES)
    if status == "active":
        row.note("its callers need a new key pair: POST /api/integrations/{id}/regenerate-credentials")
    return OldIntegration(
        id=integration_id(row.word("id")),
        owner=row.text("user_id"),
        name=row.word("name"),
        type=row.word("type", _TYPES),
        status=status,
        config=row.mapping("config"),
        webhook_url=row.text("webhook_url"),
        webhook_secret=row.text("webhook_secret"),
        created_at=created,
        updated_at=row.time("updated_at") or created,
        last_used_at=row.time("last_used_at"),
        usage_count=row.integer("usage_count") or 0,
    )


def convert_company(row: OldRow, settings: Settings) -> OldIntegration:
    """Return the company as an integration of its own, without its key."""
    company, created = row.word("id"), row.time("createdAt")
    if created is None:
        row.note("it does not say when it was made; 2000-01-01 stands there")
    config: dict[str, Any] = {name: row.text(name) for name in ("email", "phone", "address")}
    url = row.text("webhookEndpoint")
    if url is not None and not url.startswith(("http://", "https://")):
        row.note("its webhookEndpoint is no URL; it is kept in its config")
        config["webhookEndpoint"], url = url, None
    active = row.flag("isActive", default=True)
    if active and row.text("apiKey") is not None:
        row.note("its callers need a new key: wharfd keys create NAME --owner COMPANY --scope …")
    return OldIntegration(
        id=f"int_company_{company}",
        owner=company,
        name=row.word("name"),
        type="custom",
        status="active" if active else "inactive",
        config={name: value for name, value in config.items() if value is not None},
        webhook_url=url,
        webhook_secret=None,
        created_at=created or _NO_TIME,
        updated_at=row.time("updatedAt") or created or _NO_TIME,
        last_used_at=None,
        usage_count=0,
    )


def convert_token(row: OldRow, settings: Settings) -> NoReturn:
    """Refuse it, and say what to do; the token itself is repeated nowhere."""
    token = f"the token {row.text('name') or row.word('id')!r} of company {row.text('companyId') or '(none)'}"
    if not row.flag("isActive", default=True):
        raise Unfit(f"{token} was switched off; nothing is to be done")
    ends = row.time("expiresAt")
    until = "" if ends is None else f", valid until {ends:%Y-%m-%d},"
    held = row.text("permissions") or "none"
    raise Unfit(
        f"{token}{until} cannot become a key: it was kept in the open and has another form; make a new one "
        f"with wharfd keys create NAME --owner COMPANY --scope … (it had the permissions {held[:_SHOWN]})"
    )


async def write_nothing(ctx: PluginContext[Settings], tx: Transaction, records: Sequence[Any]) -> int:
    """Nothing was converted."""
    return 0


async def read_nothing(ctx: PluginContext[Settings], tx: Transaction, records: Sequence[Any]) -> list[Any]:
    """Nothing was converted."""
    return []


async def write(ctx: PluginContext[Settings], tx: Transaction, records: Sequence[OldIntegration]) -> int:
    """Add the integrations that are not there, what is secret of them sealed."""
    added = 0
    for one in records:
        try:
            shown, secrets = await seal_config(ctx, one.id, one.config)
        except InvalidConfig as error:
            raise Unfit(str(error)) from None
        webhook = None
        if one.webhook_secret is not None:
            webhook = await seal_webhook_secret(ctx, one.id, one.webhook_secret)
        values = (one.id, one.owner, one.name, one.type, one.status, shown, secrets, one.webhook_url, webhook,
                  one.created_at, one.updated_at, one.last_used_at, one.usage_count)  # fmt: skip
        added += await tx.fetchval(ADD, *values) is not None
    return added


async def read(ctx: PluginContext[Settings], tx: Transaction, records: Sequence[OldIntegration]) -> list[Any]:
    """Return the integrations as they stand in the table, their secrets opened."""
    found = {}
    for row in await tx.fetch(READ, [one.id for one in records]):
        facts = {name: value for name, value in dict(row).items() if name != "config_secrets"}
        facts["config"] = await open_config(ctx, row)
        facts["webhook_secret"] = await open_webhook_secret(ctx, row)
        found[row["id"]] = OldIntegration(**facts)
    return [found.get(one.id) for one in records]


def convert_use(row: OldRow, settings: Settings) -> OldUse:
    """Return a line of the log."""
    return OldUse(
        row.moment("timestamp"),
        f"import:{row.word('id')}",
        integration_id(row.word("integration_id")),
        row.word("endpoint"),
        row.word("method"),
        int(row.word("status_code")),
        float(row.integer("response_time") or 0),
        row.text("error"),
    )


async def write_usage(ctx: PluginContext[Settings], tx: Transaction, records: Sequence[OldUse]) -> int:
    """Add the lines that are not there; one of an integration that is not there stays out."""
    return len(await tx.fetch(ADD_USAGE, *columns_of(records)))


async def read_usage(ctx: PluginContext[Settings], tx: Transaction, records: Sequence[OldUse]) -> list[Any]:
    """Return the lines as they stand in the table."""
    rows = await tx.fetch(READ_USAGE, [one.at for one in records], [one.key_id for one in records])
    return stored_of(records, rows, "at", "key_id")


IMPORTERS = (
    Importer(
        name="integrations",
        system=SYSTEM,
        table="integrations",
        key=("id",),
        needs=("id", "user_id", "name", "type", "status", "api_key", "created_at"),
        convert=convert,
        write=write,
        read=read,
    ),
    Importer(
        name="usage",
        system=SYSTEM,
        table="integration_usage_logs",
        key=("id",),
        needs=("id", "integration_id", "endpoint", "method", "status_code", "timestamp"),
        convert=convert_use,
        write=write_usage,
        read=read_usage,
        months=(("integrations.usage", "at"),),
        after=("integrations",),
    ),
    Importer(
        name="companies",
        system=DASHBOARD,
        table="companies",
        key=("id",),
        needs=("id", "name", "email", "apiKey"),
        convert=convert_company,
        write=write,
        read=read,
    ),
    Importer(
        name="tokens",
        system=DASHBOARD,
        table="api_tokens",
        key=("id",),
        needs=("id", "name", "token", "companyId"),
        convert=convert_token,
        write=write_nothing,
        read=read_nothing,
    ),
)
