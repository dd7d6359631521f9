"""Sites whose upstream connections begin with a PROXY header."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from revproxy.wire.proxy_protocol import SIGNATURE
from tests.support.proxy import RunningProxy
from tests.support.raw_client import RawClient
from tests.support.recording_upstream import RecordingUpstream

REQUEST = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
HEADER = b"PROXY TCP4 127.0.0.1 127.0.0.1 0 %d\r\n"


class SiteTests(SynchronousTestCase):
    def asked(self, **site: Any) -> tuple[RunningProxy, RecordingUpstream]:
        """A proxy that has been asked twice on one connection, and its upstream."""
        upstream = RecordingUpstream()
        self.addCleanup(upstream.stop)
        proxy = RunningProxy({"a.test": {"upstream": upstream.address, **site}})
        self.addCleanup(proxy.stop, allow_errors=True)
        with RawClient.tls(proxy.https_port, "a.test") as client:
            for _ in range(2):
                client.ask(REQUEST)
        return proxy, upstream

    def test_each_connection(self) -> None:
        """Each begins with the client's address, and serves one request only."""
        proxy, upstream = self.asked(send_proxy="v1")
        header = HEADER % proxy.https_port
        self.assertTrue(upstream.received.startswith(header + b"GET / HTTP/1.1\r\n"))
        self.assertEqual((upstream.received.count(header), upstream.connections), (2, 2))

    def test_none(self) -> None:
        """Without the setting there is none, and the connection is used again."""
        _, upstream = self.asked()
        self.assertNotIn(b"PROXY ", upstream.received)
        self.assertEqual(upstream.connections, 1)

    def test_before_tls(self) -> None:
        """It goes before the ClientHello to an upstream that speaks TLS."""
        upstream = RecordingUpstream()
        self.addCleanup(upstream.stop)
        site = {"upstream": upstream.address, "send_proxy": "v2", "upstream_scheme": "https"}
        proxy = RunningProxy({"a.test": site})
        self.addCleanup(proxy.stop, allow_errors=True)
        with RawClient.tls(proxy.https_port, "a.test") as client:
            client.send(REQUEST)
            upstream.wait_until(lambda: len(upstream.received) > len(SIGNATURE) + 20)
        self.assertTrue(upstream.received.startswith(SIGNATURE + b"\x21\x11\x00\x0c"))
        self.assertEqual(upstream.received[len(SIGNATURE) + 16 :][:2], b"\x16\x03")
