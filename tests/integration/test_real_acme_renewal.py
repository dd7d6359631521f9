"""Renewals by a real authority while a running proxy is used, and a process that dies."""

from __future__ import annotations

import signal
import ssl
import threading
import time
from typing import Any

from tests.integration.test_real_acme import ISSUED, NAMES, REQUEST, AcmeCase
from tests.integration.test_real_command import MINIMAL
from tests.support.proxy import RunningProxy, free_port
from tests.support.raw_client import RawClient


class Traffic(threading.Thread):
    """One client after the other: a whole handshake, verified, and a request.

    Args:
        port: the proxy's TLS port.
        context: trusts the authority.

    Attributes:
        connections: how many were served.
        serials: of the certificates met.
        failures: what went wrong.
    """

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        super().__init__()
        self._port = port
        self._context = context
        self._end = threading.Event()
        self.connections = 0
        self.serials: list[str] = []
        self.failures: list[str] = []

    def run(self) -> None:
        """Go on until :meth:`stop`."""
        while not self._end.is_set():
            try:
                self._connect()
            except (OSError, AssertionError) as error:
                self.failures.append(repr(error))

    def _connect(self) -> None:
        with RawClient.tls(self._port, NAMES[0], context=self._context) as client:
            presented: Any = client.tls_sock.getpeercert()
            assert client.ask(REQUEST).status == 200
        if ssl.cert_time_to_seconds(presented["notAfter"]) < time.time():
            self.failures.append("an expired certificate was served")
        if presented["serialNumber"] not in self.serials:
            self.serials.append(presented["serialNumber"])
        self.connections += 1

    def stop(self) -> None:
        """Let the last connection end."""
        self._end.set()
        self.join(10)


class SeedProxy(RunningProxy):
    """A proxy with the configuration that users of the format have been shown for ACME."""

    def write_config(self, sites: Any, **changes: Any) -> None:
        """Write it word for word but for addresses, ports, paths, directory and CA file."""
        text = MINIMAL
        ports = f"http_port = {self.http_port}\nhttps_port = {self.https_port}"
        for old, new in (
            ('"0.0.0.0"', f'"127.0.0.1"\n{ports}'),
            ("127.0.0.1:8080", sites["example.com"]),
            ("9900", f'{free_port()}\nadmin_socket_path = ""'),
            ("/var/lib/reverse-proxy/acme-cache", changes["cache"]),
            ('"staging"', f'"{changes["directory"]}"\nacme_ca_file = "{changes["ca"]}"'),
        ):
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        self.config_path.write_text(text, encoding="utf-8")


class SeedTests(AcmeCase):
    def test_openssl(self) -> None:
        """The configuration of the origin works, and openssl s_client verifies what it got."""
        authority = self.pebble()
        self.proxy = SeedProxy(
            {"example.com": self.upstream.address},
            ports=self.ports,
            cache=str(self.cache),
            directory=authority.directory,
            ca=authority.ca_path,
        )
        self.addCleanup(self.end)
        self.proxy.wait_for_line(ISSUED, 20)
        self.assert_verified("example.com")


class RenewalTests(AcmeCase):
    RENEWALS = 2
    LIFE = 12

    def test_under_traffic(self) -> None:
        """Certificates of 12 s are renewed under traffic; no handshake fails, none is expired.

        A connection that is kept open meanwhile goes on with the certificate it began with.
        """
        self.pebble(seconds=self.LIFE)
        proxy = self.start()
        proxy.wait_for_line(ISSUED, 20)
        traffic = Traffic(proxy.https_port, self.trusting())
        with RawClient.tls(proxy.https_port, NAMES[0], context=self.trusting()) as kept:
            traffic.start()
            try:
                deadline = time.monotonic() + self.LIFE * (self.RENEWALS + 1)
                while len(traffic.serials) <= self.RENEWALS and time.monotonic() < deadline:
                    self.assertEqual(kept.ask(REQUEST).status, 200)
            finally:
                traffic.stop()
        self.assertEqual(traffic.failures, [])
        self.assertGreater(len(traffic.serials), self.RENEWALS)
        self.assertGreater(traffic.connections, 20 * self.RENEWALS)


class DeathTests(AcmeCase):
    def test_killed_in_mid_order(self) -> None:
        """After a kill -9 within an order the next process takes the same account, and issues."""
        self.pebble(environment={"PEBBLE_VA_NOSLEEP": "0", "PEBBLE_VA_SLEEPTIME": "3"})
        self.start()
        self.until(lambda: "/chalZ/" in self.authority.output)
        accounts = {path: path.read_bytes() for path in self.cache.glob("accounts/*/*.pem")}
        self.assertEqual(len(accounts), 1)
        self.assertNotEqual(list((self.cache / "pending").iterdir()), [])
        self.proxy.stop(allow_errors=True, by=signal.SIGKILL)
        self.start().wait_for_line(ISSUED, 30)
        self.presented(NAMES[1])
        left = {path: path.read_bytes() for path in self.cache.glob("accounts/*/*.pem")}
        self.assertEqual(left, accounts)
        self.assertEqual(self.authority.output.count("accounts in memory"), 1)
        self.assertFalse(
            [line for line in self.proxy.lines if "event=store" in line or "ERROR" in line]
        )

    def until(self, true: Any) -> None:
        """Wait for ``true`` to be so."""
        deadline = time.monotonic() + 20
        while not true():
            self.assertLess(time.monotonic(), deadline, "it has not come to that")
            time.sleep(0.01)
