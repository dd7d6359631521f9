"""In which order the proxy begins and ends, and what is left of it."""

from __future__ import annotations

import errno
import gc
import os
import tempfile
from pathlib import Path
from typing import Any

from attrs import evolve

from revproxy.control import proxy as proxy_module
from revproxy.control.certificate_watch import LOOK_SECS
from revproxy.control.listening import BindError
from revproxy.control.proxy import Proxy
from revproxy.model.configuration import RateLimit
from revproxy.model.tls import ClientHello, Identity
from revproxy.net.deadlines import NEVER
from revproxy.tls.self_signed import self_signed, write_pair
from tests.support.models import ADDRESS, pair
from tests.support.served import RecordingNotifier
from tests.support.tls_peers import NOW
from tests.support.whole_proxy import ProxyCase

HEALTH = 9901


class LastConnection:
    """A connection that is under way until the test lets it end."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.protocol = self
        self.told: list[str] = []
        proxy.connections.enter(1, self)

    def drain(self) -> None:
        bound = [port.bound for port in self.proxy.ports]
        self.told.append(f"drain, of {len(bound)} ports {sum(bound)} bound")

    def cut(self) -> None:
        self.told.append("cut")

    def leave(self) -> None:
        """Be gone."""
        self.proxy.connections.leave(1, self)
        self.proxy.gate.left()


class Late:
    """Something with a time limit."""

    deadline = 0.0

    def __init__(self) -> None:
        self.told: list[float] = []

    def expired(self, now: float) -> None:
        self.told.append(now)
        self.deadline = NEVER


class EndCase(ProxyCase):
    """A proxy with an admin socket and a health check, and a service manager that listens."""

    def setUp(self) -> None:
        super().setUp()
        self.notifier = RecordingNotifier()
        notifier = self.notifier
        self.patch(proxy_module.Notifier, "from_environment", lambda environ: notifier)
        folder = tempfile.TemporaryDirectory(prefix="revproxy-")  # a socket's path is short
        self.addCleanup(folder.cleanup)
        self.admin = Path(folder.name, "admin.sock")

    def bound(self, read: Any = None, **fields: Any) -> Proxy:
        """A proxy that is bound, and not serving yet."""
        fields = {"health_check_port": HEALTH, "admin_socket_path": str(self.admin), **fields}
        proxy = self.proxy(read, **fields)
        self.addCleanup(proxy.writer.close)
        proxy.privilegedStartService()
        return proxy

    def serving(self, read: Any = None, **fields: Any) -> Proxy:
        """A proxy that serves in a reactor that runs."""
        proxy = self.bound(read, **fields)
        proxy.startService()
        for call in self.reactor.when_running:
            call()
        return proxy

    def listening(self, port: int) -> bool:
        """Whether somebody listens on ``port``."""
        return any(one.where[1] == port and not one.stopped for one in self.reactor.ports)

    def records(self, proxy: Proxy) -> list[str]:
        """The events in the log, in order."""
        proxy.writer.close()
        return [line.split()[2] for line in self.log_path.read_text().splitlines()]


class BeginTests(EndCase):
    def test_ready(self) -> None:
        """The service manager is told once everything is served and the reactor runs."""
        proxy = self.bound()
        self.assertTrue(self.admin.is_socket())
        self.assertTrue(self.listening(HEALTH))
        proxy.startService()
        self.assertEqual(self.notifier.heard, [])
        for call in self.reactor.when_running:
            call()
        self.assertEqual(self.notifier.heard, ["ready: 2 sites, generation 1"])
        self.successResultOf(proxy.stopService())

    def test_bind_error_leaves_nothing(self) -> None:
        """When one address cannot be bound, nothing is left of what could: no socket, no port."""
        for port in (8443, 8080, HEALTH):
            self.reactor.taken = {port: OSError(errno.EADDRINUSE, "Address already in use")}
            with self.assertRaises(BindError):
                self.bound()
            self.assertEqual([one.stopped for one in self.reactor.ports if not one.stopped], [])
            self.assertEqual(list(self.admin.parent.iterdir()), [])
            self.assertEqual(self.reactor.readers, set())
            self.assertEqual(self.reactor.getDelayedCalls(), [])
            self.reactor.ports.clear()
        self.assertEqual(self.notifier.heard, [])

    def test_reload(self) -> None:
        """What is read anew is served by the ports that are bound."""
        wanted = self.configuration(
            health_check_port=HEALTH,
            admin_socket_path=str(self.admin),
            rate_limit=RateLimit(1, 2),
        )
        (one,) = wanted.listeners
        pairs = (*one.tls.pairs, pair("b.test"))
        wanted = evolve(wanted, listeners=(evolve(one, tls=evolve(one.tls, pairs=pairs)),))
        proxy = self.serving(lambda: wanted)
        (secure,) = [port.factory for port in proxy.ports if port.port == 8443]
        self.assertNotIsInstance(secure.choose(ClientHello("b.test")), Identity)
        outcome = self.successResultOf(proxy.reload.request())
        self.assertEqual((outcome.generation, outcome.restart_required), (2, ()))
        self.assertIsInstance(secure.choose(ClientHello("b.test")), Identity)
        self.assertEqual(list(proxy.generations.tls_ports), [(ADDRESS, 8443)])
        self.successResultOf(proxy.stopService())

    def test_reload_that_fails(self) -> None:
        """A failure in the thread is the failure of the reload."""

        def read() -> None:
            raise KeyError("mistake")

        proxy = self.serving(read)
        self.failureResultOf(proxy.reload.request(), KeyError)
        self.successResultOf(proxy.stopService())

    def test_certificates_are_watched(self) -> None:
        """Files of certificates are looked at while the proxy serves, and not after it."""
        looks: list[object] = []
        real = self.reactor.callInThreadWithCallback
        self.patch(
            self.reactor,
            "callInThreadWithCallback",
            lambda done, call: (looks.append(call), real(done, call)),
        )
        proxy = self.serving()
        self.assertEqual(len(looks), 1)
        self.reactor.advance(LOOK_SECS)
        self.assertEqual(len(looks), 2)
        self.successResultOf(proxy.stopService())
        self.reactor.advance(LOOK_SECS)
        self.assertEqual(len(looks), 2)

    def test_renewed_certificate(self) -> None:
        """A certificate that is renewed while the proxy serves is presented."""
        folder = Path(self.mktemp()).absolute()
        renewed = write_pair(folder, *self_signed(["a.test"], now=NOW))
        (one,) = self.configuration().listeners
        one = evolve(one, tls=evolve(one.tls, pairs=(renewed,)))
        proxy = self.serving(listeners=(one,))
        (secure,) = [port.factory for port in proxy.ports if port.port == 8443]
        former = secure.choose(ClientHello("a.test"))
        write_pair(folder, *self_signed(["a.test"], now=NOW))
        self.reactor.pump([LOOK_SECS] * 2)
        self.assertIsNot(secure.choose(ClientHello("a.test")), former)
        self.successResultOf(proxy.stopService())

    def test_collector(self) -> None:
        """What was built at the start is out of the collector's sight once it is served."""
        proxy = self.bound()
        gc.unfreeze()
        proxy.startService()
        self.assertGreater(gc.get_freeze_count(), 0)
        self.successResultOf(proxy.stopService())


class EndTests(EndCase):
    def test_order(self) -> None:
        """Ports stop first, what is under way may end, and the control plane ends last."""
        proxy = self.serving()
        last = LastConnection(proxy)
        stopped = proxy.stopService()
        self.assertEqual(last.told, ["drain, of 2 ports 0 bound"])
        self.assertFalse(self.listening(8443) or self.listening(8080))
        self.assertTrue(self.listening(HEALTH))
        self.assertTrue(self.admin.is_socket())
        self.assertTrue(proxy.router.draining)
        self.reactor.advance(5)
        self.assertNoResult(stopped)
        last.leave()
        self.successResultOf(stopped)
        self.assertFalse(self.listening(HEALTH))
        self.assertEqual(list(self.admin.parent.iterdir()), [])
        self.assertEqual((self.reactor.readers, self.reactor.getDelayedCalls()), (set(), []))
        self.assertEqual(self.records(proxy)[-2:], ["DRAIN", "STOP"])

    def test_time_limits_go_on(self) -> None:
        """While what is under way ends its time limits hold, and upstreams stay in use."""
        proxy = self.serving()
        (pool,) = proxy.workshop.pools
        late, last = Late(), LastConnection(proxy)
        stopped = proxy.stopService()
        proxy.deadlines.watch(late)
        self.reactor.advance(0.5)
        self.assertEqual(len(late.told), 1)
        self.assertFalse(pool._closing)
        last.leave()
        self.successResultOf(stopped)
        self.assertTrue(pool._closing)

    def test_time_is_up(self) -> None:
        """What is under way may take as long as the configuration says."""
        proxy = self.serving(shutdown_timeout_secs=7.0)
        last = LastConnection(proxy)
        stopped = proxy.stopService()
        self.reactor.pump([1.0] * 6)
        self.assertEqual(len(last.told), 1)
        self.reactor.advance(1)
        self.assertEqual(last.told[1:], ["cut"])
        last.leave()
        self.successResultOf(stopped)

    def test_service_manager(self) -> None:
        """The service manager is told before anything ends, and of nothing after it."""
        proxy = self.serving(self.configuration)
        last = LastConnection(proxy)
        self.notifier.heard.clear()
        stopped = proxy.stopService()
        self.assertEqual(self.notifier.heard, ["stopping: waiting for requests under way"])
        self.failureResultOf(proxy.reload.request())
        last.leave()
        self.successResultOf(stopped)
        self.assertEqual(len(self.notifier.heard), 1)

    def test_end_once(self) -> None:
        """Whoever ends the process, and however often, the reactor is stopped once."""
        proxy = self.serving()
        self.assertFalse(proxy.ending)
        for _ in range(3):
            proxy.end()
            self.assertTrue(proxy.ending)
        self.assertEqual(self.reactor.stops, 0)
        self.reactor.advance(0)
        self.assertEqual(self.reactor.stops, 1)
        self.successResultOf(proxy.stopService())

    def test_second_signal(self) -> None:
        """What a second signal does holds from the first one on."""
        proxy = self.serving()
        last = LastConnection(proxy)
        proxy.end()
        proxy.drain.cut()
        stopped = proxy.stopService()
        self.reactor.advance(0)
        self.assertEqual(last.told[1:], ["cut"])
        last.leave()
        self.successResultOf(stopped)

    def test_somebody_else_has_the_admin_socket(self) -> None:
        """A file in the place of the admin socket that is not its own is left alone."""
        proxy = self.serving()
        os.unlink(self.admin)
        self.admin.write_text("another one's")
        self.successResultOf(proxy.stopService())
        self.assertEqual(self.admin.read_text(), "another one's")
