"""What a new configuration changes: what can be applied, what needs a restart, and all of it in
words.

Owns the comparison of two configurations. Refuses to know files, and to apply anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs
from attrs import evolve, frozen

from revproxy.model.configuration import Configuration, Listener, Site

_BOUND = ("bind_addr", "http_port", "https_port")
"""What is static about a listener."""

_AS_IN_FILE = {"tls.pairs": "tls.certificates"}
"""Fields that no key of the file has the name of."""


@frozen
class Reloadable:
    """A new configuration as far as it can be served without a restart.

    Attributes:
        configuration: the new one, with what is static as it is served.
        restart_required: the places of the new one that have no effect before a restart.
    """

    configuration: Configuration
    restart_required: tuple[str, ...]


def reloadable(served: Configuration, wanted: Configuration) -> Reloadable:
    """Tell what of ``wanted`` can be served in place of ``served``.

    A listener that is bound already goes on with its sockets and takes everything else from the
    wanted one of the same address. The sites of one that is to come are in the table at once, as
    all sites are; one that is gone keeps its certificates, has no sites of its own and passes
    nothing on.
    """
    kept, places = _kept_fields(served, wanted)
    partners = _partners(served.listeners, wanted.listeners)
    listeners: list[Listener] = []
    sites = wanted.sites
    for index, listener in enumerate(wanted.listeners):
        if index not in partners:
            places.append(f"listeners[{index}].bind_addr")
            sites += listener.sites
            continue
        bound = served.listeners[partners[index]]
        places += [
            f"listeners[{index}].{name}"
            for name in _BOUND
            if getattr(listener, name) != getattr(bound, name)
        ]
        listeners.append(evolve(listener, **{name: getattr(bound, name) for name in _BOUND}))
    if len(wanted.listeners) != len(served.listeners):
        places.append("listeners")
    for index, listener in enumerate(served.listeners):
        if index not in partners.values():
            listeners.append(evolve(listener, sites=(), passthrough=(), default_passthrough=None))
    configuration = evolve(wanted, listeners=tuple(listeners), sites=sites, **kept)
    return Reloadable(configuration, tuple(places))


def _kept_fields(served: Configuration, wanted: Configuration) -> tuple[dict[str, Any], list[str]]:
    """The static fields, listeners apart, that differ: their served values, and their places."""
    kept: dict[str, Any] = {}
    places: list[str] = []
    for field in attrs.fields(Configuration):
        old, new = getattr(served, field.name), getattr(wanted, field.name)
        if field.metadata["static"] and field.name != "listeners" and old != new:
            kept[field.name] = old
            places += [place for place, _, _ in _differing(field.name, old, new)]
    return kept, places


def _partners(served: tuple[Listener, ...], wanted: tuple[Listener, ...]) -> dict[int, int]:
    """Which bound listener each wanted one goes on with, both as indexes.

    Never one of another address: what is meant for an inner address only must not be served on
    an outer one, even until the next restart.
    """
    partners: dict[int, int] = {}
    for names in (_BOUND, ("bind_addr", "https_port"), ("bind_addr",)):
        for index, listener in enumerate(wanted):
            for candidate, bound in enumerate(served):
                alike = all(getattr(bound, name) == getattr(listener, name) for name in names)
                if alike and index not in partners and candidate not in partners.values():
                    partners[index] = candidate
    return partners


def differences(served: Configuration, wanted: Configuration) -> Iterator[str]:
    """Every difference as a line: ``rate_limit.burst: 20 -> 30``, ``site a.example: added``."""
    for field in attrs.fields(Configuration):
        if field.name not in {"listeners", "sites"}:
            old, new = getattr(served, field.name), getattr(wanted, field.name)
            yield from _lines(field.name, old, new)
    yield from _by_name("listener", _listeners(served), _listeners(wanted))
    yield from _by_name("site", _sites(served), _sites(wanted))


def _by_name(kind: str, served: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    for name in served:
        if name not in wanted:
            yield f"{kind} {name}: removed"
    for name, new in wanted.items():
        old = served.get(name)
        if old is None:
            yield f"{kind} {name}: added"
        else:
            for line in _lines("", old, new):
                yield f"{kind} {name}: {line}"


def _lines(place: str, old: Any, new: Any) -> Iterator[str]:
    """Of a list only what has come and gone, unless that is nothing but the order."""
    for field, before, after in _differing(place, old, new):
        where = _AS_IN_FILE.get(field, field)
        if isinstance(before, tuple) and isinstance(after, tuple) and set(before) != set(after):
            gone, come = (dict.fromkeys(one) for one in (before, after))
            yield from (f"{where}: {_shown(one)}: removed" for one in gone if one not in come)
            yield from (f"{where}: {_shown(one)}: added" for one in come if one not in gone)
        else:
            yield f"{where}: {_shown(before)} -> {_shown(after)}"


def _listeners(configuration: Configuration) -> dict[str, Listener]:
    """By their address; their sites are compared as sites."""
    return {
        f"{listener.bind_addr} port {listener.https_port}": evolve(listener, sites=())
        for listener in configuration.listeners
    }


def _sites(configuration: Configuration) -> dict[str, Site]:
    return {site.host: site for site in configuration.all_sites()}


def _differing(place: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    """The innermost fields in which two values differ: place, old and new."""
    if old == new:
        return
    if type(old) is type(new) and attrs.has(type(old)) and "description" in _metadata(old):
        for field in attrs.fields(type(old)):
            inner = f"{place}.{field.name}" if place else field.name
            yield from _differing(inner, getattr(old, field.name), getattr(new, field.name))
    else:
        yield place, old, new


def _metadata(value: Any) -> Mapping[str, Any]:
    """Of the first field: a section of the file describes its fields, a plain value does not."""
    metadata: Mapping[str, Any] = attrs.fields(type(value))[0].metadata
    return metadata


def _shown(value: Any) -> str:
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_shown, value)) + "]"
    if attrs.has(type(value)) and "description" in _metadata(value):
        return "{" + ", ".join(_shown(part) for part in attrs.astuple(value, recurse=False)) + "}"
    return str(value)
