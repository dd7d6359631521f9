"""WebSockets through a running proxy, with the ``websockets`` package on both sides."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from typing import Any, ClassVar

from twisted.trial.unittest import SynchronousTestCase
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.support.cases import ProxyCase
from tests.support.echo_server import BIGGEST, TO_CLOSE, EchoServer
from tests.support.h2_socket import H2Socket
from tests.support.nginx import Nginx
from tests.support.proxy import ADMIN, RunningProxy, Sites
from tests.support.raw_client import client_context

MIB = 1 << 20
HOST = "site.test"


def socket_through(port: int, **options: Any) -> ClientConnection:
    """A WebSocket to the echo behind the proxy."""
    sock = socket.create_connection(("127.0.0.1", port), 10)
    uri = f"wss://{HOST}:{port}/chat"
    how: dict[str, Any] = {"compression": None, "max_size": BIGGEST, "proxy": None, **options}
    opening = connect(uri, sock=sock, ssl=client_context(), server_hostname=HOST, **how)
    return opening.__enter__()


class SocketCase(ProxyCase):
    """The proxy in front of an echo."""

    OVERRIDES = {"limits": {"max_connections_per_ip": 0}, "admin_socket_path": ADMIN}

    @classmethod
    def start_upstream(cls) -> EchoServer:  # type: ignore[override]
        """The echo."""
        return EchoServer()

    @classmethod
    def sites(cls, upstream: EchoServer) -> Sites:  # type: ignore[override]
        """One, in front of it."""
        return {cls.HOST: {"upstream": upstream.address, **cls.SITE}}

    def setUp(self) -> None:
        super().setUp()
        self.echo: EchoServer = self.upstream  # type: ignore[assignment]

    def open(self, **options: Any) -> ClientConnection:
        """A WebSocket, closed at the test's end."""
        opened = socket_through(self.proxy.https_port, **options)
        self.addCleanup(opened.close)
        return opened


class EchoTests(SocketCase):
    """Over HTTP/1.1."""

    def test_echo(self) -> None:
        """Messages of either kind go there and back, and the record tells of both ways."""
        since = len(self.proxy.lines)
        opened = self.open()
        for message in ("hello", b"\x00\xff" * 100, "", "w\u00f6rld"):
            opened.send(message)
            self.assertEqual(opened.recv(10), message)
        opened.close()
        self.assertEqual(opened.close_code, 1000)
        line = self.proxy.wait_for_line(" REQUEST .*path=/chat ", since=since)
        self.assertRegex(line, r" status=101 .* bytes_in=\d+ bytes_out=\d+$")

    def test_great_messages(self) -> None:
        """Messages of 16 MiB arrive intact, both ways, and in frames of any size."""
        message = os.urandom(16 * MIB)
        opened = self.open()
        opened.send(message)
        self.assertEqual(opened.recv(60), message)
        opened.send([message[at : at + MIB] for at in range(0, len(message), MIB)])
        self.assertEqual(opened.recv(60), message)

    def test_subprotocol(self) -> None:
        """The client's offer and the upstream's choice pass."""
        self.assertEqual(self.open(subprotocols=["other", "chat"]).subprotocol, "chat")
        self.assertIsNone(self.open().subprotocol)

    def test_compression(self) -> None:
        """So do extensions, where the upstream agrees to them (this one does not)."""
        opened = self.open(compression="deflate")
        opened.send("hello" * 1000)
        self.assertEqual(opened.recv(10), "hello" * 1000)
        self.assertEqual(opened.response.headers.get_all("Sec-WebSocket-Extensions"), [])

    def test_closed_by_the_upstream(self) -> None:
        """The upstream's close frame arrives with its code before the connection ends."""
        opened = self.open()
        opened.send(TO_CLOSE)
        error = self.assertRaises(ConnectionClosedError, opened.recv, 10)
        assert error.rcvd is not None
        self.assertEqual((error.rcvd.code, error.rcvd.reason), (4000, "as you wish"))

    def test_lost_client(self) -> None:
        """When the client vanishes, so does its connection to the upstream."""
        opened = self.open()
        opened.send("hello")
        opened.recv(10)
        before = self.echo.open
        opened.socket.shutdown(socket.SHUT_RDWR)
        deadline = time.monotonic() + 10
        while self.echo.open == before:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)

    def test_refused(self) -> None:
        """What the upstream refuses is refused with its status."""
        error = self.assertRaises(
            InvalidStatus, self.open, additional_headers={"Sec-WebSocket-Version": "7"}
        )
        self.assertIn(error.response.status_code, (400, 426))

    def test_status(self) -> None:
        """`status` and `connections` tell of open ones."""
        opened = self.open()
        opened.send("hello")
        opened.recv(10)
        other = self.open_over_http_2()
        self.assertEqual(other.status, 200)
        figures = self.proxy.ask("status")["connections"]
        self.assertEqual((figures["in_flight"], figures["upgraded"]), (2, 2))
        states = [one["state"] for one in self.proxy.ask("connections")["connections"]]
        self.assertIn("upgraded", states)
        self.assertIn("2 upgraded", self.proxy.revproxy("status").stdout)

    def open_over_http_2(self) -> H2Socket:
        opened = H2Socket(self.proxy.https_port, HOST)
        self.addCleanup(opened.close)
        return opened


class Http2Tests(SocketCase):
    """Over extended CONNECT."""

    def open_h2(self, *fields: tuple[bytes, bytes]) -> H2Socket:
        opened = H2Socket(self.proxy.https_port, HOST, *fields)
        self.addCleanup(opened.close)
        return opened

    def test_echo(self) -> None:
        """It is offered, agreed to with 200 and without fields of HTTP/1.1, and passes bytes."""
        opened = self.open_h2((b"sec-websocket-protocol", b"chat"))
        self.assertEqual(opened.status, 200)
        self.assertEqual(opened.fields[b"sec-websocket-protocol"], b"chat")
        names = {b"sec-websocket-accept", b"connection", b"upgrade", b"content-length"}
        self.assertEqual(names & set(opened.fields), set())
        for message in ("hello", b"\x00\xff"):
            opened.send(message)
            expected = message if isinstance(message, bytes) else message.encode()
            self.assertEqual(opened.read().data, expected)

    def test_great_message(self) -> None:
        """A message of 16 MiB arrives intact, both ways, through the windows."""
        message = os.urandom(16 * MIB)
        opened = self.open_h2()
        opened.send(message)
        self.assertEqual(opened.read().data, message)

    def test_end(self) -> None:
        """A close frame is answered, and the stream ends with END_STREAM; the record says so."""
        since = len(self.proxy.lines)
        opened = self.open_h2()
        opened.send_close()
        self.assertEqual(opened.read().data, b"\x03\xe8")
        opened.end()
        opened.wait_for_end()
        self.assertEqual((opened.ended, opened.reset), (True, None))
        end = "bytes_in=8 bytes_out=4$"
        self.proxy.wait_for_line(f" REQUEST .*method=CONNECT .*status=200 .*{end}", since=since)


class CrowdTests(SocketCase):
    """Many at once.

    Attributes:
        CONNECTIONS: how many.
        SECONDS: for how long each says something now and then.
    """

    CONNECTIONS: ClassVar[int] = 100
    SECONDS: ClassVar[float] = 1.0

    def test_crowd(self) -> None:
        """Each hears its own messages and no other's; none is lost, and all end in order."""
        asyncio.run(self.crowd())
        self.proxy.wait_for_line(" REQUEST .*status=101", since=0)
        self.assertEqual(self.proxy.ask("status")["connections"]["upgraded"], 0)

    async def crowd(self) -> None:
        """All of them."""
        gate = asyncio.Semaphore(50)
        together = asyncio.Barrier(self.CONNECTIONS)
        members = [self.member(number, gate, together) for number in range(self.CONNECTIONS)]
        await asyncio.gather(*members)

    async def member(
        self, number: int, gate: asyncio.Semaphore, together: asyncio.Barrier
    ) -> None:
        """One of them."""
        port = self.proxy.https_port
        async with gate:
            opened = await connect_async(
                f"wss://{HOST}:{port}/chat",
                host="127.0.0.1",
                port=port,
                ssl=client_context(),
                server_hostname=HOST,
                open_timeout=60,
                proxy=None,
            )
        async with opened:
            await together.wait()
            end = time.monotonic() + self.SECONDS
            turn = 0
            while turn < 3 or time.monotonic() < end:
                message = f"{number} {turn} " + "x" * (number * 37 % 2000)
                await opened.send(message)
                self.assertEqual(await asyncio.wait_for(opened.recv(), 60), message)
                await asyncio.sleep(self.SECONDS / 10)
                turn += 1


class BehindNginxTests(SynchronousTestCase):
    def test_nginx(self) -> None:
        """An nginx as the upstream passes them on, over either version."""
        echo = EchoServer()
        self.addCleanup(echo.stop)
        lines = (
            f"location /chat {{ proxy_pass http://{echo.address}; proxy_http_version 1.1;",
            'proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade"; }',
        )
        nginx = Nginx(more=" ".join(lines))
        self.addCleanup(nginx.stop)
        proxy = RunningProxy({HOST: nginx.address})
        self.addCleanup(proxy.stop)
        with socket_through(proxy.https_port) as opened:
            opened.send(b"x" * MIB)
            self.assertEqual(opened.recv(10), b"x" * MIB)
        over_h2 = H2Socket(proxy.https_port, HOST)
        self.addCleanup(over_h2.close)
        over_h2.send("hello")
        self.assertEqual(over_h2.read().data, b"hello")


class OperationTests(SynchronousTestCase):
    """A proxy that is reloaded, drained, or left in silence, with a socket open."""

    def begin(self, **how: Any) -> tuple[EchoServer, RunningProxy]:
        """Both, with a socket or more to be opened."""
        echo = EchoServer()
        self.addCleanup(echo.stop)
        self.overrides = {"admin_socket_path": ADMIN, **how}
        proxy = RunningProxy({HOST: echo.address}, **self.overrides)
        self.addCleanup(proxy.stop, allow_errors=True)
        return echo, proxy

    def check_alive(self, opened: ClientConnection, message: str) -> None:
        opened.send(message)
        self.assertEqual(opened.recv(10), message)

    def test_reload(self) -> None:
        """A reload leaves an open socket alone, even when its site goes."""
        echo, proxy = self.begin()
        opened = socket_through(proxy.https_port)
        self.addCleanup(opened.close)
        self.check_alive(opened, "before")
        proxy.write_config({"other.test": echo.address}, **self.overrides)
        self.assertEqual(proxy.ask("reload")["status"], "ok")
        self.check_alive(opened, "after")
        proxy.write_config({HOST: {"upstream": echo.address, "upgrades": []}}, **self.overrides)
        self.assertEqual(proxy.ask("reload")["status"], "ok")
        self.check_alive(opened, "later")
        error = self.assertRaises(InvalidStatus, socket_through, proxy.https_port)
        self.assertEqual(error.response.status_code, 426)
        opened.close()
        proxy.wait_for_line(" REQUEST .*status=101 .*bytes_in=")

    def test_drain(self) -> None:
        """A drain leaves it its time, and then cuts it, which the record says."""
        _, proxy = self.begin(shutdown_timeout_secs=1)
        opened = socket_through(proxy.https_port)
        self.addCleanup(opened.close)
        over_h2 = H2Socket(proxy.https_port, HOST)
        self.addCleanup(over_h2.close)
        self.check_alive(opened, "before")
        proxy.send_signal(signal.SIGTERM)
        proxy.wait_for_line(" DRAIN ")
        self.check_alive(opened, "during")
        over_h2.send("during")
        self.assertEqual(over_h2.read().data, b"during")
        self.assertRaises(ConnectionClosed, opened.recv, 10)
        self.assertEqual(proxy.wait(10), 0)
        proxy.wait_for_line(" REQUEST .*method=GET .*status=101 .*cut=shutdown")
        proxy.wait_for_line(" REQUEST .*method=CONNECT .*status=200 .*cut=shutdown")

    def test_end_of_a_drain(self) -> None:
        """When the last socket is closed, a drain is over at once."""
        _, proxy = self.begin(shutdown_timeout_secs=30)
        opened = socket_through(proxy.https_port)
        self.check_alive(opened, "before")
        proxy.send_signal(signal.SIGTERM)
        proxy.wait_for_line(" DRAIN ")
        opened.close()
        self.assertEqual(proxy.wait(10), 0)

    def test_silence(self) -> None:
        """Silence of upgraded_idle_secs ends it; pings are no silence."""
        _, proxy = self.begin(timeouts={"upgraded_idle_secs": 1})
        pinging = socket_through(proxy.https_port, ping_interval=0.3)
        self.addCleanup(pinging.close)
        silent = socket_through(proxy.https_port, ping_interval=None)
        self.addCleanup(silent.close)
        self.assertRaises(ConnectionClosed, silent.recv, 10)
        proxy.wait_for_line(" REQUEST .*status=101 .*cut=idle")
        self.check_alive(pinging, "still there")
