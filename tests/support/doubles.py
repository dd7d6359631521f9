"""Doubles that keep what they were told: log, deadlines, name resolver, listening port.

Owns what is kept. Refuses to know what is asserted about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.address import IPv4Address

from revproxy.net.deadlines import Deadlines
from tests.support.fake_sockets import FakeReactor


class RecordingLog:
    """An access log that keeps what it was told.

    Attributes:
        requests: per exchange its status and what more was said about it.
        records: every other record: level, event, fields.
    """

    def __init__(self) -> None:
        self.requests: list[dict[str, object]] = []
        self.records: list[tuple[str, str, dict[str, object]]] = []

    def request(
        self,
        client_ip: str,
        host: str,
        method: str,
        path: str,
        status: int,
        upstream: str,
        duration_ms: int,
        more: Sequence[tuple[str, object]] = (),
        also: str | None = None,
    ) -> None:
        """Keep a REQUEST record."""
        self.requests.append(
            {
                "client_ip": client_ip,
                "host": host,
                "method": method,
                "path": path,
                "status": status,
                "upstream": upstream,
                "duration_ms": duration_ms,
                "also": also,
                **dict(more),
            }
        )

    def record(self, level: str, event: str, fields: Sequence[tuple[str, object]]) -> None:
        """Keep any other record."""
        self.records.append((level, event, dict(fields)))

    def enabled(self, level: str) -> bool:
        """Everything is kept."""
        return True

    @property
    def statuses(self) -> list[object]:
        """The status of every exchange, in the order of their ends."""
        return [request["status"] for request in self.requests]

    @property
    def upstream_errors(self) -> list[object]:
        """Why upstreams failed."""
        return [f["error"] for _, event, f in self.records if event == "UPSTREAM_ERROR"]


class CountingDeadlines(Deadlines):
    """Deadlines whose watched objects a test can see."""

    def __init__(self, reactor: FakeReactor) -> None:
        super().__init__(reactor)
        self.watching: set[Any] = set()

    def watch(self, watched: Any) -> None:
        self.watching.add(watched)
        super().watch(watched)

    def forget(self, watched: Any) -> None:
        self.watching.discard(watched)
        super().forget(watched)


class FakeResolver:
    """A name resolver: the test answers; as a reactor's ``nameResolver``."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []

    def resolveHostName(self, receiver: Any, hostName: str) -> None:
        """Take a question."""
        self.asked.append((hostName, receiver))

    def answer(self, *addresses: str) -> None:
        """Answer the oldest question."""
        _, receiver = self.asked.pop(0)
        receiver.resolutionBegan(None)
        for address in addresses:
            receiver.addressResolved(IPv4Address("TCP", address, 0))
        receiver.resolutionComplete()


class Door:
    """A listening port that only remembers whether it accepts."""

    def __init__(self) -> None:
        self.accepting = True

    def stop_accepting(self) -> None:
        """Leave connections in the backlog."""
        self.accepting = False

    def go_on_accepting(self) -> None:
        """Accept again."""
        self.accepting = True
