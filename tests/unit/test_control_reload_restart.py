"""What a reload leaves to a restart, the certificates it reads, and how it shares Python."""

from __future__ import annotations

import gc
import sys
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred

from revproxy.control.reload import SWITCH_SECS
from revproxy.model.configuration import Configuration, RateLimit
from revproxy.model.tls import ClientHello
from tests.support.served import ReloadCase, mistaken


class RestartTests(ReloadCase):
    def restart_records(self) -> list[object]:
        return [record["message"] for record in self.told("RESTART_REQUIRED")]

    def test_told_once(self) -> None:
        """What needs a restart is a record when it is new, and in every outcome."""
        self.file.now = self.configuration("a.test", health_check_port=1)
        for _ in range(3):
            outcome = self.reloaded()
            self.assertEqual(outcome.restart_required, ("health_check_port",))
            self.assertEqual(outcome.changes, ("health_check_port: 9900 -> 1",))
            self.assertFalse(outcome.changed)
            self.assertEqual(self.reload.restart_required, ("health_check_port",))
        self.assertEqual(self.restart_records(), ["restart required: health_check_port"])
        self.assertEqual(self.told("RESTART_REQUIRED")[0]["level"], "warn")

    def test_another_set(self) -> None:
        """Another set is another record, and one that has been empty meanwhile is told again."""
        one = self.configuration("a.test", health_check_port=1)
        none = self.configuration("a.test")
        for holds in (one, evolve(one, shutdown_timeout_secs=1.0), none, one):
            self.file.now = holds
            outcome = self.reloaded()
            self.assertEqual(self.reload.restart_required, outcome.restart_required)
        self.assertEqual(
            self.restart_records(),
            [
                "restart required: health_check_port",
                "restart required: health_check_port, shutdown_timeout_secs",
                "restart required: health_check_port",
            ],
        )
        self.assertEqual(self.reload.restart_required, ("health_check_port",))

    def test_a_failure_takes_nothing_back(self) -> None:
        """After a failed reload it is still known what needs a restart, and not told again."""
        self.file.now = self.configuration("a.test", health_check_port=1)
        self.reloaded()
        self.file.now = mistaken("wrong")
        self.mistakes(self.reload.request())
        self.assertEqual(self.reload.restart_required, ("health_check_port",))
        self.file.now = self.configuration("a.test", health_check_port=1)
        self.reloaded()
        self.assertEqual(len(self.restart_records()), 1)

    def test_the_rest_is_applied(self) -> None:
        """Beside what needs a restart everything else is served."""
        self.file.now = self.configuration(
            "a.test", health_check_port=1, rate_limit=RateLimit(1, 2)
        )
        outcome = self.reloaded()
        self.assertEqual((outcome.changed, outcome.generation), (True, 2))
        self.assertEqual(self.generations.router.plan.limiter.burst, 2)
        self.assertEqual(self.generations.current.configuration.health_check_port, 9900)

    def added_listener(self) -> Configuration:
        """The file with a further listener, whose certificate is that of ``b.test``."""
        whole = self.configuration("a.test")
        (other,) = self.configuration("b.test").listeners
        return evolve(whole, listeners=(evolve(other, bind_addr="192.0.2.1"), *whole.listeners))

    def test_what_waits_is_validated(self) -> None:
        """A listener that is to come fails the reload if its certificate cannot be used."""
        before = self.state()
        self.file.now = self.added_listener()
        (mistake,) = self.mistakes(self.reload.request())
        self.assertTrue(mistake.startswith("listeners[0].tls: "), mistake)
        self.assertEqual(self.state(), before)
        self.pair("b.test")
        places = ("listeners[0].bind_addr", "listeners")
        self.assertEqual(self.reloaded().restart_required, places)

    def test_certificates_of_a_removed_listener(self) -> None:
        """A listener that is gone from the file needs its files no more: it serves what it has."""
        self.pair("b.test")
        self.file.now = whole = self.added_listener()
        self.serve(whole)
        self.reload = self.reload_by(self.file.read)
        former = self.generations.current.certificates.selections["192.0.2.1", 8443]
        for name in ("fullchain.pem", "privkey.pem"):
            (self.folder / "b.test" / name).unlink()
        self.file.now = self.configuration("a.test", rate_limit=RateLimit(1, 2))
        self.assertEqual(self.reloaded().restart_required, ("listeners",))
        self.assertEqual(self.generations.router.plan.limiter.burst, 2)
        present = self.generations.current.certificates.selections["192.0.2.1", 8443]
        self.assertIs(present._exact["b.test"], former._exact["b.test"])


class GentleTests(ReloadCase):
    """How the interpreter is shared while a thread is busy."""

    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(sys.setswitchinterval, sys.getswitchinterval())
        self.addCleanup(gc.enable)
        sys.setswitchinterval(0.004)
        self.seen: list[tuple[float, bool]] = []

    def look(self) -> None:
        self.seen.append((round(sys.getswitchinterval(), 5), gc.isenabled()))

    def read(self) -> Configuration:
        self.look()
        return self.file.read()

    def check(self, *, collecting: bool) -> None:
        self.assertEqual(self.seen, [(SWITCH_SECS, False)])
        self.seen.clear()
        self.look()
        self.assertEqual(self.seen, [(0.004, collecting)])

    def test_restored(self) -> None:
        """While a configuration is read threads take turns sooner and nothing is collected."""
        self.successResultOf(self.reload_by(self.read).request())
        self.check(collecting=True)

    def test_restored_after_a_failure(self) -> None:
        """A failure leaves both as they were."""
        for failure in (mistaken("wrong"), KeyError("mistake")):
            self.file.now = failure
            self.failureResultOf(self.reload_by(self.read).request())
            self.check(collecting=True)
            self.seen.clear()

    def test_collector_that_was_off(self) -> None:
        """A collector that was switched off stays off."""
        gc.disable()
        self.successResultOf(self.reload_by(self.read).request())
        self.check(collecting=False)

    def test_certificates(self) -> None:
        """The reading of certificates is as gentle."""
        real = self.generations.reload_certificates

        def load() -> Any:
            self.look()
            return real()

        self.patch(self.generations, "reload_certificates", load)
        self.successResultOf(Deferred.fromCoroutine(self.reload.certificates()))
        self.check(collecting=True)


class CertificateTests(ReloadCase):
    """Certificates that are read again by themselves."""

    def read_again(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.reload.certificates()))

    @property
    def presented(self) -> object:
        """The identity that a handshake for ``a.test`` gets."""
        return self.tls_port.choose(ClientHello("a.test"))

    def test_renewed(self) -> None:
        """A renewed pair is presented and told; the generation stays the same one."""
        former, plan = self.presented, self.generations.router.plan
        self.pair("a.test")
        self.read_again()
        self.assertIsNot(self.presented, former)
        source = str(self.folder / "a.test" / "fullchain.pem")
        fields = {"level": "info", "status": "success", "name": "a.test", "file": source}
        self.assertEqual(self.told("CERTIFICATE_RELOAD"), [fields])
        self.assertIs(self.generations.router.plan, plan)
        self.assertEqual(self.generations.current.number, 1)

    def test_unchanged(self) -> None:
        """What has not changed is presented as before, and nothing is told."""
        former = self.presented
        self.read_again()
        self.assertIs(self.presented, former)
        self.assertEqual(self.log.records, [])

    def test_last_good(self) -> None:
        """A pair that cannot be used is told, while its last good content is presented."""
        former = self.presented
        key = self.folder / "a.test" / "privkey.pem"
        key.unlink()
        self.read_again()
        self.assertIs(self.presented, former)
        error = f"{key}: cannot be read: No such file or directory; the last good one is served"
        fields = {"level": "error", "status": "error", "error": error}
        self.assertEqual(self.told("CERTIFICATE_RELOAD"), [fields])
        (failure,) = self.generations.current.certificates.failures
        self.assertEqual(failure.path, str(key))

    def test_recovers(self) -> None:
        """A pair that can be used again is presented, and is no failure any more."""
        former = self.presented
        (self.folder / "a.test" / "privkey.pem").unlink()
        self.read_again()
        self.pair("a.test")
        self.read_again()
        self.assertIsNot(self.presented, former)
        self.assertEqual(self.generations.current.certificates.failures, ())

    def test_other_pairs(self) -> None:
        """A pair that cannot be used keeps no other from being renewed."""
        self.pair("b.test")
        self.file.now = self.configuration("a.test", "b.test")
        self.reloaded()
        former = self.presented
        (self.folder / "b.test" / "privkey.pem").unlink()
        self.pair("a.test")
        self.read_again()
        self.assertIsNot(self.presented, former)
        self.assertEqual(
            [record["status"] for record in self.told("CERTIFICATE_RELOAD")], ["error", "success"]
        )

    def test_after_a_reload(self) -> None:
        """Certificates are those of the generation that is served when their turn comes."""
        self.pair("b.test")
        self.file.now = self.configuration("a.test", "b.test")
        self.threads.held = True
        asked = self.reload.request()
        reading = Deferred.fromCoroutine(self.reload.certificates())
        self.threads.run()
        self.threads.run()
        self.successResultOf(asked)
        self.successResultOf(reading)
        self.assertEqual(len(self.generations.current.certificates.served), 2)

    def test_mistake_of_our_own(self) -> None:
        """An unexpected failure changes nothing and blocks nothing."""
        before = self.state()

        def fail() -> None:
            raise KeyError("mistake")

        patched = self.patch(self.generations, "reload_certificates", fail)
        self.failureResultOf(Deferred.fromCoroutine(self.reload.certificates()), KeyError)
        self.assertEqual(self.state(), before)
        patched.restore()
        self.read_again()
