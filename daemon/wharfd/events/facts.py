"""What an event says, checked, and what is wrong with the events that plugins declare. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from ..contracts.events import Event
from ..declare import EventType, Subscription
from ..errors import InvalidEvent

Declared = Sequence[Subscription | EventType]


def facts_of(event: Event) -> str:
    """Return an event's own facts as JSON, checked against its type; owner and subject are kept beside."""
    try:
        text = msgspec.json.encode(event)
        msgspec.json.decode(text, type=type(event))
    except (msgspec.MsgspecError, TypeError, ValueError) as error:
        raise InvalidEvent(f"{event.type}: {error}") from error
    if b"\\u0000" in text:
        raise InvalidEvent(f"{event.type}: a text holds a NUL character, which cannot be stored")
    facts = msgspec.to_builtins(event)
    facts.pop("owner", None)
    facts.pop("subject", None)
    return msgspec.json.encode(facts).decode()


def find_problems(declared: Mapping[str, Declared]) -> list[str]:
    """Return, as sentences, what is wrong with the events and subscriptions of all plugins together."""
    problems: list[str] = []
    known: dict[str, type[Event]] = {}
    for event in _subclasses(Event):
        kind = getattr(event, "type", None)
        if isinstance(kind, str):
            known.setdefault(kind, event)
    classes: dict[str, tuple[str, type[Event]]] = {}
    for plugin, items in declared.items():
        for item in items:
            if not isinstance(item, EventType):
                continue
            kind = getattr(item.event, "type", None)
            if not isinstance(kind, str):
                problems.append(f"plugin {plugin}: event class {item.event.__name__} has no type")
                continue
            other = classes.setdefault(kind, (plugin, item.event))
            if other[1] is not item.event:
                problems.append(
                    f"event type {kind!r} is declared by {other[0]} as {other[1].__name__} "
                    f"and by {plugin} as {item.event.__name__}"
                )
    for plugin, items in declared.items():
        names: dict[str, Subscription] = {}
        for item in items:
            if not isinstance(item, Subscription):
                continue
            first = names.setdefault(item.subscriber, item)
            if (first.handler, first.transactional) != (item.handler, item.transactional):
                problems.append(
                    f"plugin {plugin}: two different subscriptions are called {item.subscriber!r}; give name="
                )
            if "*" not in item.pattern and item.pattern not in known and item.pattern not in classes:
                problems.append(
                    f"plugin {plugin}: {item.subscriber} listens to {item.pattern!r}, "
                    "a type that nobody declares"
                )
    return problems


def _subclasses(of: type[Any]) -> Iterator[type[Any]]:
    for found in of.__subclasses__():
        yield found
        yield from _subclasses(found)
