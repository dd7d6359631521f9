"""Extended CONNECT over HTTP/2: who asks for it, and how an upstream agrees.

Owns the requests and the answer to a key. Refuses to know what is said through a tunnel.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha1

from revproxy.model.http import Field
from tests.support.h2_playbook import H2Case, H2Client, Reply
from tests.support.playbook import Peer, Stage
from tests.support.upgrades import switching

VERSION = (b"sec-websocket-version", b"13")
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def answer(request: bytes, *lines: bytes) -> bytes:
    """The 101 that a server gives to the key in ``request``."""
    key = request.partition(b"\r\nSec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
    digest = b64encode(sha1(key + GUID, usedforsecurity=False).digest())
    return switching(b"Sec-WebSocket-Accept: " + digest, *lines)


class ConnectCase(H2Case):
    """A client that asks for a WebSocket on stream 1."""

    def ask(
        self, client: H2Client, *fields: Field, protocol: bytes = b"websocket", end: bool = False
    ) -> Reply:
        """An extended CONNECT."""
        asked = ((b":protocol", protocol), VERSION, *fields)
        return client.request(b"/chat", *asked, method=b"CONNECT", end=end)

    def asked(self, *fields: Field, **how: object) -> tuple[Stage, H2Client, Reply, Peer]:
        """One that has reached the upstream."""
        stage, client = self.connect(**how)  # type: ignore[arg-type]
        reply = self.ask(client, *fields)
        return stage, client, reply, stage.upstream()

    def tunnel(self, **how: object) -> tuple[Stage, H2Client, Reply, Peer]:
        """One that has been agreed to."""
        stage, client, reply, up = self.asked(**how)
        up.says(answer(up.heard()))
        client.talk()
        self.assertEqual((reply.status, reply.ended), (200, False))
        return stage, client, reply, up

    def check_record(self, stage: Stage, **fields: object) -> None:
        """The last record says at least this."""
        record = stage.log.requests[-1]
        self.assertEqual({name: record.get(name) for name in fields}, fields)
