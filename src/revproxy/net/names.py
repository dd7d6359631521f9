"""The IP addresses of an upstream's host name, kept fresh.

Owns when a name is resolved: at the first use, again every 10 s while it is used (in the
background; the last good answer serves meanwhile), and at once after a connection failed.
Refuses to know what the addresses are for, and never fails a start.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IResolutionReceiver
from zope.interface import implementer

from revproxy.model.address import UpstreamAddress
from revproxy.model.seams import Clock

FRESH_SECS = 10.0
"""How long an answer is used without asking again."""

MAX_ADDRESSES = 16
"""Addresses of one name that are used."""

Answer = Callable[[tuple[str, ...]], None]


@implementer(IResolutionReceiver)
class _Receiver:
    """Collects the addresses of one resolution."""

    def __init__(self, done: Answer) -> None:
        self._done = done
        self._found: list[str] = []

    def resolutionBegan(self, resolution: Any) -> None:
        """The resolver has taken the question."""

    def addressResolved(self, address: Any) -> None:
        """One address, in the system's order of preference."""
        if len(self._found) < MAX_ADDRESSES and address.host not in self._found:
            self._found.append(address.host)

    def resolutionComplete(self) -> None:
        """That was all."""
        self._done(tuple(self._found))


class Names:
    """The addresses of one upstream.

    Args:
        address: a TCP address; an IP literal needs no resolution.
    """

    __slots__ = ("_addresses", "_asking", "_clock", "_host", "_literal", "_resolved", "_resolver",
                 "_waiting")  # fmt: skip

    def __init__(self, address: UpstreamAddress, resolver: Any, clock: Clock) -> None:
        self._literal = address.is_ip
        self._host = address.host
        self._addresses: tuple[str, ...] = (address.host,) if self._literal else ()
        self._resolver = resolver
        self._clock = clock
        self._resolved = 0.0
        self._asking = False
        self._waiting: dict[Answer, None] = {}

    def lookup(self, answer: Answer) -> None:
        """Call ``answer`` with the addresses, at once where they are known; () = none."""
        if self._literal:
            answer(self._addresses)
            return
        if self._addresses:
            answer(self._addresses)
            if self._clock() - self._resolved >= FRESH_SECS:
                self._ask()
            return
        self._waiting[answer] = None
        self._ask()

    def forget(self, answer: Answer) -> None:
        """Nobody waits for ``answer`` any more (a resolver may take minutes)."""
        self._waiting.pop(answer, None)

    def doubt(self) -> None:
        """A connection failed: ask again now, for the next one."""
        if not self._literal:
            self._ask()

    def _ask(self) -> None:
        if self._asking:
            return
        self._asking = True
        self._resolver.nameResolver.resolveHostName(_Receiver(self._answered), self._host)

    def _answered(self, addresses: tuple[str, ...]) -> None:
        self._asking = False
        self._resolved = self._clock()
        if addresses:
            self._addresses = addresses
        waiting, self._waiting = self._waiting, {}
        for answer in waiting:
            answer(self._addresses)
