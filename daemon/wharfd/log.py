"""Logging: structlog to the journal, to JSON lines or to a console, with levels that change while it runs.

    log = get_logger(plugin="netbanx")
    log.warning("delivery_refused", source="netbanx", reason="no signature matched")

The event is a constant snake_case phrase, the facts are fields. Fields named like a secret are hidden
(`redaction.py`). Lines that nobody takes are dropped and counted; logging never stops the daemon.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any, Literal, TextIO, cast

import msgspec
import structlog
from structlog.contextvars import bound_contextvars, merge_contextvars

from .log_fields import EVERY, Repeats, describe_exception, every
from .log_journald import JOURNAL_SOCKET, JournalOutput, encode_entry
from .log_output import Output, StreamOutput
from .redaction import redact_fields, redact_text

__all__ = ["LogControl", "configure", "every", "get_logger", "log_context"]

Format = Literal["auto", "console", "json", "journald"]

LEVELS: Mapping[str, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_METHOD_LEVELS = {**LEVELS, "warn": 30, "exception": 40, "fatal": 50, "msg": 20}
_LEVEL_NAMES = {number: name for name, number in LEVELS.items()}
_MAX_TRACEBACK = 64 * 1024


def get_logger(**fields: Any) -> structlog.stdlib.BoundLogger:
    """Return a logger that puts these fields on every event.

    It follows `configure` whenever that is called. Where thousands of events a second are possible, `.bind()`
    it once while running: that copy is three times as fast and keeps to the configuration of that moment.
    """
    return cast("structlog.stdlib.BoundLogger", structlog.get_logger(**fields))


def log_context(**fields: Any) -> AbstractContextManager[None]:
    """Put fields (`request_id`, `trace_id`, `plugin` …) on every event logged inside and by its tasks.

    `plugin` also tells the watch over the event loop whose code is running.
    """
    return bound_contextvars(**fields)


def configure(
    level: str = "info",
    format: Format = "auto",
    stream: TextIO | None = None,
    *,
    plugin_levels: Mapping[str, str] | None = None,
    journal_socket: str = JOURNAL_SOCKET,
) -> LogControl:
    """Send the daemon's logging, and that of the libraries, to one place; return what changes it later.

    `auto` is the journal when systemd connected `stream` (stderr) to it, a console when it is a terminal,
    JSON lines otherwise.
    """
    stream = sys.stderr if stream is None else stream
    chosen = choose_format(stream) if format == "auto" else format
    output: Output = JournalOutput(journal_socket) if chosen == "journald" else StreamOutput(stream)
    control = LogControl(output, chosen, colours=chosen == "console" and _is_terminal(stream))
    control.set_level(level)
    for plugin, plugin_level in (plugin_levels or {}).items():
        control.set_level(plugin_level, plugin=plugin)
    control.install()
    return control


def choose_format(stream: TextIO, environ: Mapping[str, str] = os.environ) -> Format:
    """Say which format `auto` means for this stream."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, AttributeError, ValueError):
        return "json"
    # systemd names the device and inode of the socket it gave us, so a redirected stderr does not match.
    if environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}":
        return "journald"
    return "console" if _is_terminal(stream) else "json"


class LogControl:
    """The running log: its levels can be changed, and it says how many lines were dropped."""

    def __init__(self, output: Output, chosen: Format, *, colours: bool = False) -> None:
        self.format = chosen
        self._output = output
        self._level = LEVELS["info"]
        self._plugin_levels: dict[str, int] = {}
        self._repeats = Repeats()
        self._console = structlog.dev.ConsoleRenderer(colors=colours) if chosen == "console" else None
        self._handler: _LibraryHandler | None = None

    @property
    def dropped(self) -> int:
        """How many lines nobody took."""
        return self._output.dropped

    @property
    def levels(self) -> dict[str, str]:
        """The level of the daemon (under `""`) and of plugins that have their own."""
        return {name: _LEVEL_NAMES[n] for name, n in {"": self._level, **self._plugin_levels}.items()}

    def set_level(self, level: str | None, *, plugin: str | None = None) -> None:
        """Log from this level on, for all or for one plugin; None gives a plugin the common level again."""
        if level is not None and level not in LEVELS:
            raise ValueError(f"log level {level!r} is not one of {', '.join(LEVELS)}")
        if plugin is None:
            self._level = LEVELS[level or "info"]
        elif level is None:
            self._plugin_levels.pop(plugin, None)
        else:
            self._plugin_levels[plugin] = LEVELS[level]
        self._lowest = min(self._level, *self._plugin_levels.values(), 50)
        if self._handler is not None:
            logging.getLogger().setLevel(self._lowest)

    def install(self) -> None:
        """Make structlog and the standard library's logging write here."""
        structlog.configure(
            processors=[self.process],
            wrapper_class=structlog.stdlib.BoundLogger,
            logger_factory=lambda *_: _Writer(self._output),
            # A cached logger would keep writing to the place of an earlier `configure`.
            cache_logger_on_first_use=False,
        )
        root = logging.getLogger()
        for old in [handler for handler in root.handlers if isinstance(handler, _LibraryHandler)]:
            root.removeHandler(old)
        self._handler = _LibraryHandler(self)
        root.addHandler(self._handler)
        root.setLevel(self._lowest)

    def close(self) -> None:
        """Stop taking over the standard library's logging and let go of the journal."""
        if self._handler is not None:
            logging.getLogger().removeHandler(self._handler)
            self._handler = None
        self._output.close()

    def process(self, _logger: object, method: str, event: MutableMapping[str, Any]) -> bytes:
        """Turn an event into the bytes of its line; raises `structlog.DropEvent` if it is not wanted."""
        number = _METHOD_LEVELS.get(method, 20)
        if number < self._lowest:
            raise structlog.DropEvent
        fields = dict(merge_contextvars(_logger, method, event))
        plugin = str(fields.get("plugin", ""))
        if number < self._plugin_levels.get(plugin, self._level):
            raise structlog.DropEvent
        phrase = str(fields.pop("event", ""))
        if (seconds := fields.pop(EVERY, None)) is not None:
            held_back = self._repeats.admit(phrase, plugin, seconds)
            if held_back is None:
                raise structlog.DropEvent
            if held_back:
                fields["suppressed"] = held_back
        if positional := fields.pop("positional_args", None):
            phrase = _formatted(phrase, positional)
        error = _error_of(fields.pop("exc_info", True if method == "exception" else None))
        line: dict[str, Any] = {
            "timestamp": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "level": _LEVEL_NAMES[number],
            "event": redact_text(phrase),
            **redact_fields(fields),
        }
        return self._render(line, error)

    def _render(self, line: dict[str, Any], error: BaseException | None) -> bytes:
        if self._console is not None:
            if error is not None:
                text = "".join(traceback.format_exception(error))
                line["exception"] = redact_text(text, limit=_MAX_TRACEBACK)
            return str(self._console(None, "", line)).encode("utf-8", "replace")
        if error is not None:
            line["exception"] = describe_exception(error)
        return encode_entry(line) if self.format == "journald" else msgspec.json.encode(line)

    def write_library_record(self, record: logging.LogRecord) -> None:
        """Write what a library logged through the standard library."""
        fields: dict[str, Any] = {"event": record.getMessage(), "logger": record.name}
        if record.exc_info:
            fields["exc_info"] = record.exc_info
        level = max((n for n in _LEVEL_NAMES if n <= record.levelno), default=10)
        try:
            self._output.write(self.process(None, _LEVEL_NAMES[level], fields))
        except structlog.DropEvent:
            return


class _Writer:
    """What structlog hands the finished line to, whatever the level was."""

    def __init__(self, output: Output) -> None:
        self._write = output.write

    def __getattr__(self, name: str) -> Any:
        if name not in _METHOD_LEVELS:
            raise AttributeError(name)
        return self._write


class _LibraryHandler(logging.Handler):
    """Takes over what hypercorn, asyncpg and others log through the standard library."""

    def __init__(self, control: LogControl) -> None:
        super().__init__()
        self._control = control

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record."""
        try:
            self._control.write_library_record(record)
        except Exception:  # a library's broken format string; logging prints it to stderr
            self.handleError(record)


def _error_of(exc_info: object) -> BaseException | None:
    """Return the exception that `exc_info` means, in any of the forms logging knows."""
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple):
        return exc_info[1] if len(exc_info) == 3 and isinstance(exc_info[1], BaseException) else None
    return sys.exc_info()[1] if exc_info else None


def _formatted(phrase: str, positional: tuple[Any, ...]) -> str:
    try:
        return phrase % positional
    except (TypeError, ValueError):
        return f"{phrase} {positional!r}"


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except (AttributeError, ValueError):
        return False
