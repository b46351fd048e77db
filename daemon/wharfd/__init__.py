"""wharfd: the back office of a commerce business in one daemon.

These are the names a plugin imports, and all of them: `from wharfd import Route, hookimpl, sql`. They are
loaded when first used, so that a command that needs one does not wait for the rest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cache import Cache as Cache
    from .cli.arguments import seconds_of as seconds_of
    from .cli.client import Client as Client
    from .cli.output import Output as Output
    from .clock import Clock as Clock
    from .config import option as option
    from .context import Hooks as Hooks
    from .context import PluginContext as PluginContext
    from .db import Database as Database
    from .db import Queries as Queries
    from .db import Record as Record
    from .db import Statement as Statement
    from .db import Transaction as Transaction
    from .db import quoted as quoted
    from .db import sql as sql
    from .db.embedded import Binaries as Binaries
    from .db.embedded import Confinement as Confinement
    from .db.embedded import choose_confinement as choose_confinement
    from .db.embedded import find_binaries as find_binaries
    from .db.inspection import ServerHealth as ServerHealth
    from .db.inspection import server_health as server_health
    from .db.partitions import Partition as Partition
    from .db.partitions import ensure_months as ensure_months
    from .db.partitions import ensure_range as ensure_range
    from .db.partitions import missing_months as missing_months
    from .db.partitions import partitions_of as partitions_of
    from .declare import AlertRule as AlertRule
    from .declare import CacheFor as CacheFor
    from .declare import Command as Command
    from .declare import ConsolePage as ConsolePage
    from .declare import EventType as EventType
    from .declare import Finding as Finding
    from .declare import Health as Health
    from .declare import HealthCheck as HealthCheck
    from .declare import Importer as Importer
    from .declare import IngestRoute as IngestRoute
    from .declare import JobKind as JobKind
    from .declare import Metric as Metric
    from .declare import Migrations as Migrations
    from .declare import Provides as Provides
    from .declare import Rate as Rate
    from .declare import Requires as Requires
    from .declare import RetentionRule as RetentionRule
    from .declare import Retry as Retry
    from .declare import Route as Route
    from .declare import Schedule as Schedule
    from .declare import Subscription as Subscription
    from .declare import WorkQueue as WorkQueue
    from .errors import DatabaseBusy as DatabaseBusy
    from .errors import DatabaseUnavailable as DatabaseUnavailable
    from .errors import HeaderRefused as HeaderRefused
    from .errors import LeaseLost as LeaseLost
    from .errors import NotReady as NotReady
    from .errors import OutboundError as OutboundError
    from .errors import Overloaded as Overloaded
    from .errors import SecretError as SecretError
    from .errors import ServiceUnavailable as ServiceUnavailable
    from .errors import StatementTimeout as StatementTimeout
    from .errors import StorageError as StorageError
    from .errors import UrlRefused as UrlRefused
    from .errors import WharfdError as WharfdError
    from .hookspecs import hookimpl as hookimpl
    from .hookspecs import hookspec as hookspec
    from .http import BadRequest as BadRequest
    from .http import Conflict as Conflict
    from .http import EventStream as EventStream
    from .http import FieldError as FieldError
    from .http import Forbidden as Forbidden
    from .http import Gone as Gone
    from .http import HttpProblem as HttpProblem
    from .http import Invalid as Invalid
    from .http import NotFound as NotFound
    from .http import Page as Page
    from .http import Reply as Reply
    from .http import Request as Request
    from .http import SentEvent as SentEvent
    from .http import Stream as Stream
    from .http import TooMany as TooMany
    from .http import Unavailable as Unavailable
    from .http import UnsupportedMediaType as UnsupportedMediaType
    from .http import decode_cursor as decode_cursor
    from .http import encode_cursor as encode_cursor
    from .http import offset_of as offset_of
    from .http import page_of as page_of
    from .http import paginate as paginate
    from .http import struct_of_text as struct_of_text
    from .http.outbound import FRAMING_HEADERS as FRAMING_HEADERS
    from .http.outbound import ClientCertificate as ClientCertificate
    from .http.outbound import NetworkPolicy as NetworkPolicy
    from .http.outbound import OutboundClient as OutboundClient
    from .http.outbound import OutboundResponse as OutboundResponse
    from .http.outbound import check_header as check_header
    from .http.outbound import parse_url as parse_url
    from .ids import new_id as new_id
    from .ids import new_trace_id as new_trace_id
    from .ids import stable_id as stable_id
    from .importing import OldRow as OldRow
    from .importing import Unfit as Unfit
    from .importing import columns_of as columns_of
    from .importing import stored_of as stored_of
    from .ingest import Delivery as Delivery
    from .ingest import IngestReply as IngestReply
    from .metrics import PluginMetrics as PluginMetrics
    from .metrics import Sample as Sample
    from .metrics import quantile as quantile
    from .redaction import names_a_secret as names_a_secret
    from .redaction import redact_text as redact_text
    from .secrets import Secret as Secret
    from .secrets.vault import Vault as Vault
    from .spans import read_span as read_span
    from .spans import span_words as span_words
    from .storage import Folder as Folder
    from .storage import Packed as Packed
    from .storage import Packing as Packing
    from .storage import Place as Place
    from .storage import PlaceSettings as PlaceSettings
    from .storage import copy_object as copy_object
    from .storage import make_identity as make_identity
    from .storage import open_place as open_place
    from .storage import pack as pack
    from .storage import read_object as read_object
    from .storage import recipient_of as recipient_of
    from .storage import sync_folder as sync_folder
    from .storage import unpack as unpack
    from .storage import write_durably as write_durably
    from .work import Again as Again
    from .work import Batch as Batch
    from .work import Bury as Bury
    from .work import Cancel as Cancel
    from .work import Done as Done
    from .work import Hold as Hold
    from .work import Job as Job
    from .work import Outcome as Outcome
    from .work import RetryAfter as RetryAfter
    from .work import Snooze as Snooze

__version__ = "0.1.0"

# where each public name lives
_HOMES = {
    "cache": "Cache",
    "cli.arguments": "seconds_of",
    "cli.client": "Client",
    "cli.output": "Output",
    "clock": "Clock",
    "config": "option",
    "context": "Hooks PluginContext",
    "db": "Database Queries Record Statement Transaction quoted sql",
    "db.inspection": "ServerHealth server_health",
    "db.embedded": "Binaries Confinement choose_confinement find_binaries",
    "db.partitions": "Partition ensure_months ensure_range missing_months partitions_of",
    "declare": "AlertRule CacheFor Command ConsolePage EventType Finding Health HealthCheck "
    "Importer IngestRoute JobKind Metric Migrations Provides Rate Requires RetentionRule Retry "
    "Route Schedule Subscription WorkQueue",
    "errors": "DatabaseBusy DatabaseUnavailable HeaderRefused LeaseLost NotReady OutboundError Overloaded "
    "SecretError ServiceUnavailable StatementTimeout StorageError UrlRefused WharfdError",
    "hookspecs": "hookimpl hookspec",
    "http": "BadRequest Conflict EventStream SentEvent FieldError Forbidden Gone HttpProblem Invalid "
    "NotFound Page Reply Request Stream TooMany Unavailable UnsupportedMediaType decode_cursor "
    "encode_cursor offset_of page_of paginate struct_of_text",
    "http.outbound": "ClientCertificate FRAMING_HEADERS NetworkPolicy OutboundClient OutboundResponse "
    "check_header parse_url",
    "ids": "new_id new_trace_id stable_id",
    "importing": "OldRow Unfit columns_of stored_of",
    "ingest": "Delivery IngestReply",
    "metrics": "PluginMetrics Sample quantile",
    "redaction": "names_a_secret redact_text",
    "secrets": "Secret",
    "secrets.vault": "Vault",
    "spans": "read_span span_words",
    "storage": "Folder Packed Packing Place PlaceSettings copy_object make_identity open_place pack "
    "read_object recipient_of sync_folder unpack write_durably",
    "work": "Again Batch Bury Cancel Done Hold Job Outcome RetryAfter Snooze",
}
_PUBLIC = {name: module for module, names in _HOMES.items() for name in names.split()}
__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    try:
        module = _PUBLIC[name]
    except KeyError:
        raise AttributeError(f"wharfd has no public name {name!r}") from None
    value = getattr(import_module(f".{module}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
