"""What can be wrong with a connection or with one of its streams (RFC 9113 5.4).

Owns the two exceptions of the layer. Refuses to know which bytes answer them.
"""

from __future__ import annotations


class H2ConnectionError(Exception):
    """The connection cannot go on (RFC 9113 5.4.1); the only exception that leaves the layer.

    Attributes:
        code: an error code (RFC 9113 7).
        reason: a short cause for the log, in lower case, without bytes of the peer.
    """

    __slots__ = ("code", "reason")

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class H2StreamError(Exception):
    """One stream cannot go on (RFC 9113 5.4.2); answered with RST_STREAM within the layer.

    Attributes:
        code: an error code (RFC 9113 7).
        reason: a short cause, in lower case, without bytes of the peer.
    """

    __slots__ = ("code", "reason")

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
