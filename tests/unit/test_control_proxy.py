"""The proxy as a service: what is bound, how it begins and ends, and what it says if it cannot."""

from __future__ import annotations

import errno

from attrs import evolve

from revproxy.control.listening import BindError
from revproxy.control.proxy import Proxy, check
from revproxy.errors import ConfigErrors
from revproxy.model.configuration import Limits, Logging
from tests.support.models import pair
from tests.support.tls_peers import NOW
from tests.support.whole_proxy import ProxyCase


class BindTests(ProxyCase):
    def test_ports(self) -> None:
        """Both ports of a listener are bound before anything is served."""
        proxy = self.proxy()
        self.assertEqual(self.reactor.ports, [])
        proxy.privilegedStartService()
        where = {port.where for port in self.reactor.ports}
        self.assertEqual(where, {("127.0.0.1", 8080), ("127.0.0.1", 8443)})
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_no_plain_port(self) -> None:
        """http_port 0 is off."""
        whole = self.configuration()
        one = evolve(whole.listeners[0], http_port=0)
        proxy = Proxy(
            evolve(whole, listeners=(one,)), self.reactor, lambda: NOW, threads=self.reactor
        )
        proxy.privilegedStartService()
        self.assertEqual([port.where[1] for port in self.reactor.ports], [8443])

    def test_taken(self) -> None:
        """A port that is taken fails the start with its address and the reason."""
        self.reactor.taken[8080] = OSError(errno.EADDRINUSE, "Address already in use")
        proxy = self.proxy()
        error = self.assertRaises(BindError, proxy.privilegedStartService)
        self.assertEqual(str(error), "cannot bind 127.0.0.1:8080: Address already in use")

    def test_reason_without_number(self) -> None:
        """A reason that is no system error is shown as it is, an IPv6 address in brackets."""
        whole = self.configuration()
        one = evolve(whole.listeners[0], bind_addr="::1")
        self.reactor.taken[8443] = ValueError("no such thing")  # type: ignore[assignment]
        proxy = Proxy(
            evolve(whole, listeners=(one,)), self.reactor, lambda: NOW, threads=self.reactor
        )
        error = self.assertRaises(BindError, proxy.privilegedStartService)
        self.assertEqual(str(error), "cannot bind [::1]:8443: no such thing")


class LifeTests(ProxyCase):
    def test_start_and_stop(self) -> None:
        """A start and a stop are records, ports and timers are gone at the end."""
        proxy = self.proxy(limits=Limits(max_connections=77))
        proxy.privilegedStartService()
        proxy.startService()
        self.assertNotEqual(self.reactor.getDelayedCalls(), [])
        self.successResultOf(proxy.stopService())
        self.assertTrue(all(port.stopped for port in self.reactor.ports))
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        proxy.writer.close()
        log = self.log_path.read_text()
        self.assertIn("INFO START listeners=1 sites=2 max_connections=77", log)
        self.assertIn("WARN TLS_CERTIFICATE", log)
        self.assertTrue(log.rstrip().endswith("INFO STOP"))
        self.assertEqual(self.printed_path.read_text(), log)

    def test_json(self) -> None:
        """The log has the format that was asked for."""
        proxy = self.proxy(logging=Logging(format="json", log_file_path=str(self.log_path)))
        proxy.privilegedStartService()
        proxy.startService()
        self.successResultOf(proxy.stopService())
        proxy.writer.close()
        self.assertTrue(self.log_path.read_text().startswith("{"))

    def test_unusable_log(self) -> None:
        """A log file that cannot be opened fails the start before anything is bound."""
        with self.assertRaises(ConfigErrors):
            self.proxy(logging=Logging(log_file_path="/nowhere/at/all.log"))
        self.assertEqual(self.reactor.ports, [])

    def test_unusable_certificate(self) -> None:
        """A certificate that cannot be used fails the start before anything is bound."""
        whole = self.configuration()
        tls = evolve(whole.listeners[0].tls, pairs=(evolve(pair("a.test"), key_path="/none"),))
        one = evolve(whole.listeners[0], tls=tls)
        with self.assertRaises(ConfigErrors):
            Proxy(evolve(whole, listeners=(one,)), self.reactor, lambda: NOW, threads=self.reactor)
        self.assertEqual(self.reactor.ports, [])

    def test_check(self) -> None:
        """--validate counts what would be served, and warns of sites without a certificate."""
        verdict, warnings = check(self.configuration(), NOW)
        self.assertEqual(verdict, "configuration ok: 1 listeners, 2 sites")
        self.assertEqual(len(warnings), 1)
        self.assertIn("b.test", warnings[0])
