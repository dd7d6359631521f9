"""Which route serves a host name.

Owns the lookup: an exact name wins over ``*.example.com``, which matches one label. Generic over
what it leads to, so that it stays pure. Refuses to know how a host name reached us; it is given
in normal form.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class HostRoutes(Generic[T]):
    """An immutable table of host names.

    Args:
        entries: host names, lower-cased, or ``*.`` and a name; and where they lead.
    """

    __slots__ = ("_exact", "_wildcards")

    def __init__(self, entries: Iterable[tuple[str, T]]) -> None:
        self._exact: dict[str, T] = {}
        self._wildcards: dict[str, T] = {}
        for host, target in entries:
            if host.startswith("*."):
                self._wildcards[host[2:]] = target
            else:
                self._exact[host] = target

    def find(self, host: str) -> T | None:
        """Where ``host`` leads, in time that does not depend on the number of hosts."""
        target = self._exact.get(host)
        if target is None and self._wildcards:
            return self._wildcards.get(host.partition(".")[2])
        return target

    def __len__(self) -> int:
        return len(self._exact) + len(self._wildcards)
