"""Tunnels on real sockets: half-close through TLS on both sides, and bytes both ways at once."""

from __future__ import annotations

import hashlib
import os
import threading
from typing import ClassVar

from tests.support.cases import ProxyCase
from tests.support.certificates import authority
from tests.support.proxy import Sites
from tests.support.raw_client import RawClient
from tests.support.recording_upstream import Conversation, RecordingUpstream
from tests.support.tls_client import TlsClient

ASKING = (b"Connection: Upgrade", b"Upgrade: websocket")
AGREED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
MIB = 1 << 20
TLS, UNIX = "tls.test", "unix.test"


class TunnelTests(ProxyCase):
    """The same through a plain upstream, one over TLS, and one at a UNIX socket."""

    others: ClassVar[list[RecordingUpstream]]
    OVERRIDES: ClassVar = {"environment": {"SSL_CERT_FILE": authority().ca_path}}

    @classmethod
    def sites(cls, upstream: RecordingUpstream) -> Sites:
        """One for each kind of upstream."""
        over_tls = RecordingUpstream(pair=authority().pair("127.0.0.1"))
        at_unix = RecordingUpstream(unix=True)
        cls.others = [over_tls, at_unix]
        return {
            cls.HOST: upstream.address,
            TLS: {"upstream": over_tls.address, "upstream_scheme": "https"},
            UNIX: at_unix.address,
        }

    @classmethod
    def stop_others(cls) -> None:
        """Both of them."""
        for other in cls.others:
            other.stop()

    def each_upstream(self) -> list[tuple[str, RecordingUpstream]]:
        """The sites, each with its upstream, which has no scripts yet."""
        pairs = list(zip((self.HOST, TLS, UNIX), [self.upstream, *self.others], strict=True))
        for _, upstream in pairs:
            upstream.forget()
        return pairs

    def begin(self, host: str) -> TlsClient:
        """A client that has asked for an upgrade."""
        client = TlsClient(self.proxy.https_port, host)
        self.addCleanup(client.close)
        client.send(self.request(b"/up", *ASKING, host=host.encode()))
        return client

    def read(self, client: TlsClient, end: bytes) -> bytes:
        """What comes up to ``end``."""
        got = b""
        while not got.endswith(end):
            more = client.read()
            self.assertTrue(more, f"the end before {end!r}: {got!r}")
            got += more
        return got

    def test_half_close(self) -> None:
        """A client that says no more still hears what the upstream says after its own last."""

        def script(conversation: Conversation) -> None:
            conversation.send(AGREED)
            conversation.hold()
            conversation.send(b"you said ", b"all, ", b"goodbye", gap=0.02)
            conversation.close()

        def check(host: str, upstream: RecordingUpstream) -> None:
            upstream.answers[b"/up"] = script
            client = self.begin(host)
            self.read(client, b"\r\n\r\n")
            client.send(b"last words")
            client.half_close()
            self.assertEqual(client.read_until_close(), b"you said all, goodbye")
            self.assertTrue(upstream.received.endswith(b"\r\n\r\nlast words"))

        self.each(self.each_upstream(), check)

    def test_half_close_before_the_switch(self) -> None:
        """So it is when it has said no more since before the 101."""

        def script(conversation: Conversation) -> None:
            conversation.send(AGREED + b"hello ")
            conversation.hold()
            conversation.send(b"goodbye")
            conversation.close()

        def check(host: str, upstream: RecordingUpstream) -> None:
            upstream.answers[b"/up"] = script
            client = self.begin(host)
            client.send(b"last words")
            client.half_close()
            self.assertTrue(client.read_until_close().endswith(b"\r\n\r\nhello goodbye"))
            self.assertTrue(upstream.received.endswith(b"\r\n\r\nlast words"))

        self.each(self.each_upstream(), check)

    def test_end_of_the_upstream(self) -> None:
        """When the upstream ends, the client gets everything, and then an end in order."""
        content = os.urandom(3 * MIB)

        def script(conversation: Conversation) -> None:
            conversation.send(AGREED + content)
            conversation.close()

        def check(host: str, upstream: RecordingUpstream) -> None:
            upstream.answers[b"/up"] = script
            client = self.begin(host)
            client.send(b"unheard " * 1000)
            got = client.read_until_close().partition(b"\r\n\r\n")[2]
            self.assertEqual(hashlib.sha256(got).digest(), hashlib.sha256(content).digest())

        self.each(self.each_upstream(), check)

    def test_both_ways_at_once(self) -> None:
        """Many bytes both ways at once are all there, though both sides begin by sending."""
        size = 8 * MIB
        down, up = os.urandom(size), os.urandom(size)

        def script(conversation: Conversation) -> None:
            conversation.send(AGREED)
            sending = threading.Thread(target=conversation.send, args=(down,))
            sending.start()
            conversation.hold()
            sending.join()
            conversation.close()

        def check(host: str, upstream: RecordingUpstream) -> None:
            upstream.answers[b"/up"] = script
            client = self.client(host, timeout=60)
            client.send(self.request(b"/up", *ASKING, host=host.encode()))
            self.assertEqual(client.read_head().status, 101)
            sending = threading.Thread(target=self.send_and_end, args=(client, up))
            sending.start()
            got = client.read_until_close()
            sending.join()
            self.assertEqual(hashlib.sha256(got).digest(), hashlib.sha256(down).digest())
            received = upstream.received.partition(b"\r\n\r\n")[2]
            self.assertEqual(hashlib.sha256(received).digest(), hashlib.sha256(up).digest())

        self.each(self.each_upstream(), check)

    def send_and_end(self, client: RawClient, content: bytes) -> None:
        """Send all of it and say that it was all."""
        client.send(content)
        client.half_close()
