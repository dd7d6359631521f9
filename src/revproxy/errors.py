"""The project's exceptions: one for what goes wrong on the wire, one for the configuration.

Owns the shape of a failure. Refuses to know how it is logged or which bytes answer it.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum


class Side(Enum):
    """Whose fault a failure is (pingora's vocabulary)."""

    DOWNSTREAM = "downstream"
    UPSTREAM = "upstream"


class ProxyError(Exception):
    """Something about one exchange that ends it.

    Attributes:
        side: whose fault it is.
        status: the HTTP status that the downstream gets while it can still get one.
        reason: a short cause for the log, in lower case, without bytes of either peer.
        retry: whether the same request may be tried on a fresh connection, as far as this
            failure is concerned (the request itself may still forbid it).
    """

    __slots__ = ("reason", "retry", "side", "status")

    def __init__(self, side: Side, status: int, reason: str, *, retry: bool = False) -> None:
        super().__init__(reason)
        self.side = side
        self.status = status
        self.reason = reason
        self.retry = retry


class BadRequest(ProxyError):
    """What a downstream sent is refused with ``status``, and its connection closed."""

    __slots__ = ()

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(Side.DOWNSTREAM, status, reason)


class BadResponse(ProxyError):
    """What an upstream sent is no valid HTTP response: 502, and its connection closed."""

    __slots__ = ()

    def __init__(self, reason: str) -> None:
        super().__init__(Side.UPSTREAM, 502, reason)


class ConfigError(Exception):
    """One mistake in the configuration.

    Attributes:
        path: where, as written in the file: ``listeners[0].sites[1].upstream``; a file name
            for what concerns a whole file; ``""`` for the whole configuration.
        message: what is wrong and, where it helps, what would be right.
    """

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path
        self.message = message


class ConfigErrors(Exception):
    """Every mistake found in one reading of the configuration, in file order.

    Attributes:
        errors: at least one :class:`ConfigError`.
    """

    def __init__(self, errors: Sequence[ConfigError]) -> None:
        super().__init__("\n".join(str(error) for error in errors))
        self.errors = tuple(errors)
