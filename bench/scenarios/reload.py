"""P8's reloads: how long they take, and for how long nothing is served meanwhile."""

from __future__ import annotations

import socket
import threading
import time

from attrs import evolve

from bench.certificates import CertificateFiles, write_certificate
from bench.load import LoadError
from bench.process import NotReadyError, client_context
from bench.proxies import RevProxy, Setup
from bench.results import Key, Measure
from bench.scenarios.sites import many_hosts, many_sites
from bench.stage import Stage

DURATION = Measure("Reload", "s")
PAUSE = Measure("Longest response during a reload", "ms")

EVERY_SITE = "another upstream for every site"
EVERY_CERTIFICATE = "every certificate renewed"
VARIANTS = (EVERY_SITE, EVERY_CERTIFICATE)

_RELOADS = 5
_GAP_SECS = 0.002


class _Asking(threading.Thread):
    """One request after another on one connection, with a short rest between them."""

    def __init__(self, port: int, host: str) -> None:
        super().__init__(daemon=True)
        self._request = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        plain = socket.create_connection(("127.0.0.1", port), timeout=30)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = client_context().wrap_socket(plain, server_hostname=host)
        self._over = threading.Event()
        self.longest = 0.0
        self.failed = ""

    def run(self) -> None:
        """Ask until it is over."""
        with self._socket:
            while not self._over.wait(_GAP_SECS):
                begun = time.perf_counter()
                self._socket.sendall(self._request)
                received = self._socket.recv(4096)
                self.longest = max(self.longest, time.perf_counter() - begun)
                if not received.startswith(b"HTTP/1.1 200"):
                    self.failed = f"answer {received[:40]!r}"
                    return

    def end(self) -> float:
        """Ask no more; the seconds that the longest answer took.

        Raises:
            LoadError: an answer was not 200.
        """
        self._over.set()
        self.join()
        if self.failed:
            raise LoadError(self.failed)
        return self.longest


def run(stage: Stage) -> None:
    """The reloads, of this project's proxy only."""
    if not stage.has_revproxy:
        stage.results.remark("P8 reload: skipped, revproxy does not run here")
        return
    groups = many_hosts()
    stage.say("P8 reload: starting with 10 000 sites")
    setup = many_sites(stage, groups)
    try:
        with stage.start(RevProxy, setup) as proxy:
            assert isinstance(proxy, RevProxy)
            for number in range(_RELOADS):
                stage.say(f"P8 reload: {number + 1} of {_RELOADS}")
                # The same upstream under two addresses.
                address = "127.0.0.1" if number % 2 else "127.0.0.2"
                _measure(stage, proxy, evolve(proxy.setup, upstream_host=address), EVERY_SITE)
                renewed = evolve(proxy.setup, certificates=_renewed(stage, groups, number))
                _measure(stage, proxy, renewed, EVERY_CERTIFICATE)
    except (LoadError, NotReadyError) as error:
        stage.results.remark(f"P8 reload: {error}")


def _renewed(
    stage: Stage, groups: list[tuple[str, ...]], number: int
) -> tuple[CertificateFiles, ...]:
    """New certificates, in new files."""
    return tuple(
        write_certificate(stage.folder, f"zone{zone}-{number}", hosts)
        for zone, hosts in enumerate(groups)
    )


def _measure(stage: Stage, proxy: RevProxy, setup: Setup, variant: str) -> None:
    asking = _Asking(proxy.port, setup.hosts[0])
    asking.start()
    taken = proxy.reload(setup)
    stage.results.add(Key("P8 reload", variant, DURATION), proxy.name, taken)
    pause = asking.end() * 1e3
    stage.results.add(Key("P8 reload", variant, PAUSE), proxy.name, pause)
