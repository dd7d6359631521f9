"""Passthrough, PROXY headers and TCP services in what is served: compiled, reloaded, told."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from attrs import evolve

from revproxy.control.workshop import Workshop
from revproxy.model.address import UpstreamAddress
from revproxy.model.configuration import Configuration, Limits, Passthrough, Stream
from revproxy.net.backend import Backend
from revproxy.net.plan import ListenerPort
from revproxy.net.ports import PlainPort, StreamPort
from revproxy.net.proxy_intake import ProxyIntake
from revproxy.net.relay import Relay
from tests.support.models import ADDRESS, configuration, listener, pair, site
from tests.support.served import ServedCase
from tests.unit.test_control_status import StatusCase

BACKEND = UpstreamAddress.parse("10.0.0.1:443")
OTHER = UpstreamAddress.parse("10.0.0.2:443")
SENDERS = (ip_network("192.0.2.0/24"),)


def passing(*passed: Passthrough, **fields: Any) -> Configuration:
    """A listener without sites that passes these on."""
    one = listener(passthrough=passed, http_port=8080, https_port=8443, **fields)
    return configuration(one, health_check_port=0, admin_socket_path="")


class ReloadTests(ServedCase):
    """What a reload does about it."""

    def setUp(self) -> None:
        super().setUp()
        self.first = passing(Passthrough(("a.test",), BACKEND))
        self.serve(self.first)
        self.generations.ports.append(((ADDRESS, 8443), self.tls_port))
        self.generations.tell_ports()

    def adopt(self, whole: Configuration) -> None:
        """Serve ``whole``."""
        self.generations.adopt(self.generations.build(whole))

    def found(self, name: str = "a.test") -> Backend:
        """Where a new connection for ``name`` goes."""
        backend = self.tls_port.passed.find(name)
        assert backend is not None
        return backend

    def test_other_target(self) -> None:
        """New connections go to the new target; what has begun stays with its own."""
        former = self.found()
        relay = Relay(self.port, former, server_name="a.test")
        self.adopt(passing(Passthrough(("a.test",), OTHER)))
        self.assertEqual(self.found().name, "10.0.0.2:443")
        self.assertIs(relay._backend, former)
        self.assertEqual(former.destination.address, BACKEND)

    def test_same_target(self) -> None:
        """What is known of an unchanged target is kept, whatever else has changed."""
        former = self.found().destination
        self.adopt(passing(Passthrough(("a.test", "b.test"), BACKEND, send_proxy="v1")))
        self.assertIs(self.found("b.test").destination, former)
        self.assertEqual(self.found().send_proxy, "v1")

    def test_gone(self) -> None:
        """A name that is not passed on any more ends here, and a fallback has all others."""
        self.adopt(passing())
        self.assertIsNone(self.tls_port.passed.find("a.test"))
        self.adopt(passing(default_passthrough=OTHER))
        self.assertEqual(self.found("anything.test").name, "10.0.0.2:443")
        self.assertEqual(self.found("").send_proxy, "v2")

    def test_building_changes_nothing(self) -> None:
        """What is built and not adopted is not served."""
        self.generations.build(passing(Passthrough(("a.test",), OTHER), proxy_protocol=SENDERS))
        self.assertEqual(self.found().name, "10.0.0.1:443")
        self.assertEqual(self.tls_port.senders, ())

    def test_senders(self) -> None:
        """Who sends PROXY headers is told, and each listener has its own of one address, too."""
        one = self.first.listeners[0]
        two = evolve(one, http_port=9080, https_port=9443, passthrough=())
        self.serve(evolve(self.first, listeners=(one, two)))
        plain = PlainPort(
            ListenerPort(
                self.generations.router,
                self.port.deadlines,
                self.connections,
                self.gate,
                False,
                ADDRESS,
                9443,
            )
        )
        self.generations.ports[:] = [((ADDRESS, 8443), self.tls_port), ((ADDRESS, 9443), plain)]
        self.adopt(evolve(self.first, listeners=(one, evolve(two, proxy_protocol=SENDERS))))
        self.assertEqual((self.tls_port.senders, plain.senders), ((), SENDERS))

    def test_plain_ports(self) -> None:
        """A passed host is proxied on plain ports if it has a backend for that."""
        http = UpstreamAddress.parse("10.0.0.1:80")
        self.adopt(
            passing(
                Passthrough(("a.test",), BACKEND, http_upstream=http),
                Passthrough(("b.test",), BACKEND),
            )
        )
        routes = self.generations.router.plan.routes
        a, b = routes.find("a.test"), routes.find("b.test")
        assert a is not None and b is not None
        self.assertEqual((a.passed, a.plain, a.upstream), (True, True, "10.0.0.1:80"))
        self.assertEqual((b.passed, b.plain), (True, False))
        pools = [str(pool.settings.address) for pool in self.generations.workshop.pools]
        self.assertEqual(pools, ["10.0.0.1:80"])

    def test_stream_backend(self) -> None:
        """A TCP service's backend has its address, its header, and the limit of what is queued."""
        workshop: Workshop = self.generations.workshop
        stream = Stream(ADDRESS, 5222, OTHER, "v1")
        backend = workshop.stream_backend(stream, Limits(buffered_bytes=12345))
        self.assertEqual((backend.name, backend.send_proxy), ("10.0.0.2:443", "v1"))
        self.assertEqual(backend.destination.buffered_bytes, 12345)


class ToldTests(StatusCase):
    """What is told of it."""

    def test_ready_without_sites(self) -> None:
        """A listener that only passes on is ready once it is bound, without a certificate."""
        whole = passing(Passthrough(("a.test",), BACKEND))
        self.serve(whole, bound=False)
        self.assertEqual(len(self.status.missing()), 2)
        self.proxied.privilegedStartService()
        self.assertEqual(self.status.missing(), [])
        self.assertEqual(self.status.sites(), [])

    def test_stream_ports(self) -> None:
        """The port of a TCP service is one that has to be bound, and is told."""
        one = evolve(listener(site("a.test"), pairs=(pair("a.test"),)), http_port=0)
        whole = configuration(
            one,
            health_check_port=0,
            admin_socket_path="",
            streams=(Stream(ADDRESS, 5222, OTHER, "v1"),),
        )
        self.serve(whole, bound=False)
        self.assertIn("127.0.0.1 port 5222 is not bound", self.status.missing())
        self.proxied.privilegedStartService()
        self.assertIn("127.0.0.1 port 5222", self.status.summary()["listeners"])
        factory = self.reactor.ports[-1].factory
        self.assertIsInstance(factory, StreamPort)
        self.assertEqual((factory.backend.name, factory.senders), ("10.0.0.2:443", ()))

    def test_senders_from_the_start(self) -> None:
        """The first generation's senders count from the first connection on, on both ports."""
        self.serve(passing(Passthrough(("a.test",), BACKEND), proxy_protocol=SENDERS))
        factories = [port.factory for port in self.reactor.ports[-2:]]
        self.assertEqual([factory.senders for factory in factories], [SENDERS, SENDERS])

    def test_open_connections(self) -> None:
        """Connections that pass, and those whose header has yet to come, are told as such."""

        class Transport:
            limit_key = 1
            at_admission = ()
            taken = 0

            def __init__(self, protocol: Any) -> None:
                self.protocol = protocol

            def getPeer(self) -> Any:
                return self

            host = "192.0.2.7"

        self.serve(passing(Passthrough(("a.test",), BACKEND), proxy_protocol=SENDERS))
        secure = self.reactor.ports[-2].factory
        port = secure._port
        intake = ProxyIntake(port.deadlines, 3, lambda *_, **__: True, print, secure=True)
        relay = Relay(port, secure.passed.find("a.test"), server_name="a.test")
        for key, protocol in enumerate((intake, relay)):
            transport: Any = Transport(protocol)
            protocol.transport = transport
            port.connections.enter(key, transport)
        told = {entry["state"]: entry for entry in self.status.open_connections()}
        self.assertEqual(told.keys(), {"proxy header", "passing"})
        self.assertEqual(told["passing"]["server_name"], "a.test")
        self.assertEqual(told["passing"]["host"], "a.test")
        figures = self.status.summary()["connections"]
        self.assertEqual((figures["in_flight"], figures["upgraded"]), (1, 0))
