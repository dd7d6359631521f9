"""What else holds for hosts and ports that are passed on: limits, reloads, foreign hosts."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Any, ClassVar

from twisted.trial.unittest import SynchronousTestCase

from tests.support.cases import ProxyCase
from tests.support.certificates import authority
from tests.support.proxied import header_v2
from tests.support.proxy import ADMIN, RunningProxy, Sites, free_port
from tests.support.raw_client import RawClient
from tests.support.recording_upstream import RecordingUpstream
from tests.support.servers import ByteServer
from tests.support.tls_client import first_flight


class ForeignHostTests(ProxyCase):
    """A connection whose TLS is ended here asks for a host that is passed on."""

    behind: ClassVar[RecordingUpstream]

    @classmethod
    def sites(cls, upstream: RecordingUpstream) -> Sites:
        """One; the backend of the host that is passed on has a plain port."""
        cls.behind = RecordingUpstream()
        return {cls.HOST: upstream.address}

    @classmethod
    def stop_others(cls) -> None:
        """Stop the backend."""
        cls.behind.stop()

    @classmethod
    def overrides(cls) -> dict[str, Any]:
        """The proxy's own certificate covers the host, as one for a whole domain would."""
        passed = {
            "hosts": ["passed.test"],
            "upstream": cls.behind.address,
            "http_upstream": cls.behind.address,
        }
        pair = authority().pair(cls.HOST, "passed.test")
        return {"listener": {"passthrough": [passed]}, "certificates": [pair]}

    def test_refused(self) -> None:
        """It is answered with 421, for the connection leads to the wrong place."""
        with self.client() as client:
            self.assertEqual(client.ask(self.request(host=b"passed.test")).status, 421)
        self.assertEqual(self.behind.connections, 0)
        with self.plain_client() as client:
            self.assertEqual(client.ask(self.request(host=b"passed.test")).status, 200)


class LimitTests(SynchronousTestCase):
    """``max_connections_per_ip``."""

    MOST = 3

    def start(self, **listener: Any) -> None:
        """A proxy with a TCP service and a host that is passed on."""
        self.server = ByteServer()
        self.addCleanup(self.server.stop)
        self.port = free_port()
        stream = {"bind_addr": "127.0.0.1", "port": self.port, "upstream": self.server.address}
        passed = {"hosts": ["passed.test"], "upstream": self.server.address, "send_proxy": "off"}
        self.proxy = RunningProxy(
            {"site.test": self.server.address},
            streams=[stream],
            listener={"passthrough": [passed], **listener},
            limits={"max_connections_per_ip": self.MOST},
        )
        self.addCleanup(self.proxy.stop)

    def check(self, headers: Sequence[bytes], of_other: bytes = b"") -> None:
        """As many as may be are passed on; the next waits until one of them has ended."""
        clients = []
        for header in headers:
            client = RawClient.plain(self.proxy.https_port, source="127.0.0.31")
            self.addCleanup(client.close)
            clients.append(client.send(header + first_flight("passed.test")))
        for number in range(self.MOST):
            self.server.wait_for(100, number)
        # Another client is served meanwhile, so everything before it has been looked at.
        port = self.proxy.https_port
        RawClient.tls(port, "site.test", source="127.0.0.32", before=of_other).close()
        self.assertEqual(self.server.connections, self.MOST)
        clients[0].close()
        self.server.wait_for(100, self.MOST)

    def test_passthrough(self) -> None:
        """A client has no more connections that are passed on than it may have."""
        self.start()
        self.check([b""] * (self.MOST + 1))

    def test_behind_a_proxy(self) -> None:
        """The same where the client is named by a PROXY header."""
        self.start(proxy_protocol=["127.0.0.0/8"])
        headers = [header_v2("192.0.2.1", n, "127.0.0.1", 443) for n in range(self.MOST + 1)]
        self.check(headers, header_v2("192.0.2.2", 1, "127.0.0.1", 443))

    def test_stream(self) -> None:
        """The same of a TCP service."""
        self.start()
        for number in range(self.MOST + 1):
            client = RawClient.plain(self.port, source="127.0.0.31")
            self.addCleanup(client.close)
            client.send(b"hello")
            if number < self.MOST:
                self.server.wait_for(5, number)
        other = RawClient.plain(self.port, source="127.0.0.32")
        self.addCleanup(other.close)
        other.send(b"other")
        self.assertEqual(self.server.wait_for(5, self.MOST), b"other")


class ReloadTests(SynchronousTestCase):
    """What is passed on changes by a reload."""

    def setUp(self) -> None:
        self.upstream = RecordingUpstream()
        self.addCleanup(self.upstream.stop)
        self.backend = RecordingUpstream(b"HTTP/1.1 204 No Content\r\n\r\n", pair=self.pair())
        self.addCleanup(self.backend.stop)
        self.proxy = RunningProxy({"site.test": self.upstream.address}, admin_socket_path=ADMIN)
        self.addCleanup(self.proxy.stop)

    def pair(self) -> Any:
        """The backend's certificate."""
        return authority().pair("passed.test")

    def reload(self, listener: dict[str, Any]) -> None:
        """Give the listener other keys."""
        sites = {"site.test": self.upstream.address}
        self.proxy.write_config(sites, listener=listener, admin_socket_path=ADMIN)
        reply = self.proxy.ask("reload")
        self.assertEqual((reply["status"], reply.get("restart_required", [])), ("ok", []))

    def status(self, name: str, **options: Any) -> int:
        """Of an answer to a request."""
        with RawClient.tls(self.proxy.https_port, name, **options) as client:
            return client.ask(b"GET / HTTP/1.1\r\nHost: " + name.encode() + b"\r\n\r\n").status

    def test_hosts(self) -> None:
        """A host is passed on from the next connection, and no more after it is taken out."""
        passed = {"hosts": ["passed.test"], "upstream": self.backend.address, "send_proxy": "off"}
        self.assertRaises(ssl.SSLError, self.status, "passed.test")
        self.reload({"passthrough": [passed]})
        self.assertEqual(self.status("passed.test"), 204)
        self.assertEqual(self.status("site.test"), 200)
        self.reload({})
        self.assertRaises(ssl.SSLError, self.status, "passed.test")

    def test_senders(self) -> None:
        """A network may send PROXY headers from the next connection, and must."""
        header = header_v2("192.0.2.1", 1, "127.0.0.1", 443)
        self.assertRaises(OSError, self.status, "site.test", before=header)
        self.reload({"proxy_protocol": ["127.0.0.0/8"]})
        self.assertEqual(self.status("site.test", before=header), 200)
        self.assertEqual(self.upstream.requests[0].value(b"X-Real-IP"), b"192.0.2.1")
        self.assertRaises(OSError, self.status, "site.test")
        self.reload({})
        self.assertEqual(self.status("site.test"), 200)
