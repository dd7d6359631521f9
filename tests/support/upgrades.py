"""Requests for an upgrade and answers to them, and conversations that have come to a tunnel.

Owns their bytes. Refuses to know what is said through a tunnel.
"""

from __future__ import annotations

from typing import Any

from tests.support.playbook import DATE_LINE, Peer, PlaybookCase, Stage

ASKING = (
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
ACCEPT = b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def asking(
    *more: bytes,
    lines: tuple[bytes, ...] = ASKING,
    start: bytes = b"GET /chat HTTP/1.1",
    host: bytes = b"a.test",
) -> bytes:
    """A request for a WebSocket; ``lines`` instead of what asks for it, and ``more``."""
    return b"\r\n".join([start, b"Host: " + host, *lines, *more, b"", b""])


def switching(*lines: bytes, protocol: bytes = b"websocket") -> bytes:
    """An upstream's 101."""
    agreed = (b"Connection: Upgrade", b"Upgrade: " + protocol)
    return b"\r\n".join([b"HTTP/1.1 101 Switching Protocols", *agreed, *lines, b"", b""])


SWITCHING = switching(ACCEPT)

PASSED_ON = (
    b"HTTP/1.1 101 Switching Protocols\r\n" + ACCEPT + b"\r\n" + DATE_LINE
    + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
)  # fmt: skip
""":data:`SWITCHING` as the downstream gets it."""


class UpgradeCase(PlaybookCase):
    """A conversation a test, most of which come to a tunnel."""

    def asked(self, *said: bytes, **how: Any) -> tuple[Stage, Peer, Peer]:
        """A downstream that has ``said`` its request, and the upstream that has heard it."""
        stage = self.stage(**how)
        down = stage.downstream()
        down.says(*(said or (asking(),)))
        up = stage.upstream()
        return stage, down, up

    def tunnel(self, **how: Any) -> tuple[Stage, Peer, Peer]:
        """Both ends of a tunnel, which have heard everything that came before it."""
        stage, down, up = self.asked(**how)
        up.heard()
        up.says(SWITCHING)
        self.assertEqual(down.heard(), PASSED_ON)
        return stage, down, up

    def check_record(self, stage: Stage, **fields: object) -> None:
        """There is one record, which says at least this."""
        (record,) = stage.log.requests
        self.assertEqual({name: record.get(name) for name in fields}, fields)
