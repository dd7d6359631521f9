"""What goes wrong with connections that are passed on: each end gets its answer and its record."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable
from typing import Any, ClassVar

from tests.support.cases import ProxyCase
from tests.support.proxy import Sites, free_port
from tests.support.raw_client import RawClient
from tests.support.recording_upstream import FullBacklog, RecordingUpstream, refusing_address
from tests.support.servers import ByteServer, resets
from tests.support.tls_client import first_flight

INTERNAL_ERROR = b"\x15\x03\x03\x00\x02\x02\x50"
"""The alert of a backend that is not there."""


class BackendCase(ProxyCase):
    """Backends that do not do what they should.

    Attributes:
        peers: those that listen, by the first label of their hosts.
        down: where nobody listens.
        stream_ports: the port of a TCP service in front of each.
    """

    peers: ClassVar[dict[str, Any]] = {}
    down: ClassVar[str]
    stream_ports: ClassVar[dict[str, int]] = {}

    @classmethod
    def start_upstream(cls) -> RecordingUpstream:
        """The upstream of the site; and the backends."""
        cls.peers = {"holds": ByteServer(), "resets": ByteServer(resets), "full": FullBacklog()}
        return super().start_upstream()

    @classmethod
    def sites(cls, upstream: RecordingUpstream) -> Sites:
        """One."""
        return {cls.HOST: upstream.address}

    @classmethod
    def stop_others(cls) -> None:
        """Stop the backends."""
        for peer in cls.peers.values():
            peer.stop()

    @classmethod
    def overrides(cls) -> dict[str, Any]:
        """A host and a port for each backend."""
        cls.down = refusing_address()
        addresses = {name: peer.address for name, peer in cls.peers.items()} | {"down": cls.down}
        cls.stream_ports = {name: free_port() for name in addresses}
        return {
            "listener": {
                "passthrough": [
                    {
                        "hosts": [f"{name}.test"],
                        "upstream": address,
                        "connect_timeout_secs": 0.5,
                        "send_proxy": "off",
                    }
                    for name, address in addresses.items()
                ]
            },
            "streams": [
                {"bind_addr": "127.0.0.1", "port": cls.stream_ports[name], "upstream": address}
                for name, address in addresses.items()
            ],
            "timeouts": {"client_hello_secs": 1},
            "logging": {"level": "debug"},
            "limits": {"max_connections_per_ip": 0},
        }

    def setUp(self) -> None:
        super().setUp()
        self.proxy.wait_for_line(" START ")
        self.proxy.forgive(" DEBUG TWISTED ")
        self.since = len(self.proxy.lines)

    def connection(self, sent: bytes = b"", port: int = 0, source: str = "") -> RawClient:
        """A connection to the TLS port, or another, on which ``sent`` has been sent."""
        client = RawClient.plain(port or self.proxy.https_port, source=source)
        self.addCleanup(client.close)
        return client.send(sent)

    def line(self, pattern: str) -> str:
        """A line of the log of this test."""
        return self.proxy.wait_for_line(pattern, since=self.since)

    def open_descriptors(self) -> int:
        """How many the proxy has."""
        return len(os.listdir(f"/proc/{self.proxy.pid}/fd"))


class BackendTests(BackendCase):
    """One connection at a time."""

    def test_down(self) -> None:
        """A backend that is down: an alert, and two records."""
        sent = first_flight("down.test")
        self.assertEqual(self.connection(sent).read_until_close(), INTERNAL_ERROR)
        self.line(f'WARN UPSTREAM_ERROR host=down.test upstream={self.down} error="connection ref')
        record = self.line("INFO STREAM client_ip=127.0.0.1 sni=down.test ")
        self.assertIn(f" upstream={self.down} bytes_in=0 bytes_out=0 duration_ms=", record)
        self.assertTrue(record.endswith(' cut=upstream error="connection refused"'), record)

    def test_slow(self) -> None:
        """A backend that does not accept in time: the same, once the time is over."""
        started = time.monotonic()
        self.assertEqual(
            self.connection(first_flight("full.test")).read_until_close(), INTERNAL_ERROR
        )
        self.assert_quick(started, 0.4, 3)
        self.line('WARN UPSTREAM_ERROR host=full.test upstream=.* error="connect timeout"')
        self.line('STREAM .* sni=full.test .* cut=upstream error="connect timeout"')

    def test_resets(self) -> None:
        """A backend that resets: so is the client, for TLS knows no other end that is no end."""
        client = self.connection(first_flight("resets.test"))
        self.assertRaises(ConnectionResetError, client.sock.recv, 1)
        self.line("INFO STREAM client_ip=127.0.0.1 sni=resets.test .* cut=upstream$")

    def test_client_resets(self) -> None:
        """A client that resets: so is the backend."""
        sent = first_flight("holds.test")
        client = self.connection(sent)
        self.peers["holds"].wait_for(len(sent))
        client.reset()
        record = self.line("INFO STREAM client_ip=127.0.0.1 sni=holds.test ")
        self.assertIn(f" bytes_in={len(sent)} bytes_out=0 ", record)
        self.assertTrue(record.endswith(" cut=downstream"), record)

    def test_silent(self) -> None:
        """A client that says nothing, or not all, is closed when its time is over."""
        for sent in (b"", first_flight("holds.test")[:40]):
            self.since = len(self.proxy.lines)
            started = time.monotonic()
            self.assertEqual(self.connection(sent).read_until_close(), b"")
            self.assert_quick(started, 0.9, 4)
            self.line('DEBUG TLS_REFUSED client_ip=127.0.0.1 .* error="handshake timeout"')

    def test_plain_http(self) -> None:
        """HTTP on the TLS port is answered in plain text, and goes to no backend."""
        answer = self.connection(self.request(host=b"holds.test")).read_until_close()
        self.assertTrue(answer.startswith(b"HTTP/1.1 400 Bad Request\r\n"), answer)
        self.line("INFO TLS_REFUSED client_ip=127.0.0.1 .*no tls on the tls port")

    def test_divided(self) -> None:
        """A ClientHello in single bytes is passed on as it came."""
        sent = first_flight("resets.test")
        client = self.connection()
        client.send_bytewise(sent)
        self.assertRaises(ConnectionResetError, client.sock.recv, 1)
        self.line(f"STREAM .* sni=resets.test .* bytes_in={len(sent)} ")

    def test_no_name(self) -> None:
        """A name that is no host name is refused, and goes to no backend."""
        whole = first_flight("holds.test")
        for name in (b"holds\n.test", b"holds .test", b"holds\0test"):
            answer = self.connection(whole.replace(b"holds.test", name)).read_until_close()
            self.assertEqual(answer[:1], b"\x15", name)
            self.assertEqual(len(answer), 7)


class StreamTests(BackendCase):
    """The same through the port of a TCP service, which has no answer of its own."""

    def through(self, name: str) -> RawClient:
        """A connection to the port of a backend."""
        return self.connection(b"hello", self.stream_ports[name])

    def test_down(self) -> None:
        """A backend that is down: the connection ends without a word."""
        self.assertEqual(self.through("down").read_until_close(), b"")
        self.line(f'WARN UPSTREAM_ERROR host=- upstream={self.down} error="connection refused"')
        self.line(f"INFO STREAM client_ip=127.0.0.1 sni=- upstream={self.down} bytes_in=0 ")

    def test_resets(self) -> None:
        """A backend that resets: so is the client."""
        client = self.through("resets")
        self.assertRaises(ConnectionResetError, client.sock.recv, 1)
        self.line("INFO STREAM client_ip=127.0.0.1 sni=- .* bytes_in=5 .* cut=upstream$")


class CrowdTests(BackendCase):
    """Many connections of all these kinds.

    Attributes:
        CONNECTIONS: how many.
    """

    CONNECTIONS: ClassVar[int] = 1000

    def test_descriptors(self) -> None:
        """Whatever has become of the connections, nothing of them stays open."""
        self.assertEqual(self.get().status, 200)
        before = self.open_descriptors()
        hellos = {name: first_flight(f"{name}.test") for name in (*self.peers, "down", "nobody")}
        ways: list[Callable[[], RawClient]] = [
            *((lambda sent=sent: self.open(sent)) for sent in hellos.values()),
            lambda: self.open(b"GET / HTTP/1.0\r\n\r\n"),
            lambda: self.open(b""),
            lambda: self.open(hellos["holds"][:40]),
            lambda: self.open(b"hello", self.stream_ports["holds"]),
            lambda: self.open(b"hello", self.stream_ports["down"]),
            lambda: self.open(b"hello", self.stream_ports["resets"]),
        ]
        made = 0
        while made < self.CONNECTIONS:
            batch = [way() for way in ways for _ in range(8)]
            for number, client in enumerate(batch):
                if number % 3 == 0:
                    client.sock.setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                    )
                client.close()
            made += len(batch)
        self.upstream.wait_until(lambda: self.open_descriptors() <= before, 20)
        self.assertEqual(self.get().status, 200)
        # The log is read by a thread of its own.
        self.upstream.wait_until(lambda: self.records() > made / 4, 20)

    def records(self) -> int:
        """How many connections the log tells of that were passed on."""
        return sum(" INFO STREAM " in line for line in self.proxy.lines)

    def open(self, sent: bytes, port: int = 0) -> RawClient:
        """A connection that the test closes by itself."""
        return RawClient.plain(port or self.proxy.https_port).send(sent)
