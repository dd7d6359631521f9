"""Reloading: what is served afterwards, what is said of it, and who is told."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from revproxy.control.reload import MOST_LINES, Outcome, ReloadRefusedError, in_one_line
from revproxy.errors import ConfigErrors
from revproxy.model.configuration import Configuration, Limits, RateLimit
from tests.support.models import site
from tests.support.served import ReloadCase, mistaken


class SuccessTests(ReloadCase):
    def test_everything_is_replaced(self) -> None:
        """A valid configuration is served as a whole: sites, limits, certificates."""
        self.pair("b.test")
        self.file.now = self.configuration(
            "a.test", "b.test", rate_limit=RateLimit(1, 2), limits=Limits(max_connections=7)
        )
        outcome = self.reloaded()
        self.assertEqual((outcome.changed, outcome.generation, outcome.sites), (True, 2, 2))
        generations = self.generations
        self.assertEqual((generations.current.number, self.file.reads), (2, 1))
        self.assertEqual(generations.current.configuration, self.file.now)
        plan = generations.router.plan
        self.assertIsNotNone(plan.routes.find("b.test"))
        self.assertEqual((plan.limiter.rate, plan.limiter.burst), (1, 2))
        self.assertEqual(self.connections.most, 7)
        where = next(iter(generations.tls_ports))
        self.assertIs(self.tls_port.choose, generations.current.certificates.selections[where])

    def test_record(self) -> None:
        """A reload is one record, with the fields that filters know first."""
        self.file.now = self.configuration("a.test", rate_limit=RateLimit(1, 2))
        self.reloaded()
        fields = {"status": "success", "sites": 1, "generation": 2, "changed": True}
        self.assertEqual(self.log.records, [("info", "CONFIG_RELOAD", fields)])
        self.assertEqual(list(self.log.records[0][2]), list(fields))

    def test_notifier(self) -> None:
        """The service manager is told of the beginning and the end of a reload."""
        self.file.now = self.configuration("a.test", rate_limit=RateLimit(1, 2))
        self.threads.held = True
        asked = self.reload.request()
        self.assertEqual(self.notifier.heard, ["reloading"])
        self.threads.run()
        self.successResultOf(asked)
        self.assertEqual(self.notifier.heard, ["reloading", "ready: 1 sites, generation 2"])

    def test_log_files(self) -> None:
        """Log files are opened in a thread too, once everything else is known to be well."""
        path = self.folder / "a.log"
        logged = site("b.test", log_file_path=str(path))
        self.file.now = self.configuration("a.test", sites=(logged,))
        before = self.state()
        self.threads.held = True
        asked = self.reload.request()
        self.threads.run()
        self.assertNoResult(asked)
        self.assertEqual((self.state(), path.exists()), (before, False))
        self.threads.run()
        self.assertTrue(self.successResultOf(asked).changed)
        self.file.now = self.configuration("a.test", sites=(logged,), rate_limit=RateLimit(1, 2))
        asked = self.reload.request()
        self.threads.run()
        self.assertTrue(self.successResultOf(asked).changed)
        self.writer.write("line", str(path))
        self.writer.close()
        self.assertEqual(path.read_text(), "line\n")

    def test_nothing_is_served_before_the_end(self) -> None:
        """While a configuration is read and built the old one is served, whole."""
        before = self.state()
        self.file.now = self.configuration("a.test", rate_limit=RateLimit(1, 2))
        self.threads.held = True
        asked = self.reload.request()
        self.assertNoResult(asked)
        self.assertEqual(self.state(), before)
        self.threads.run()
        self.successResultOf(asked)
        self.assertNotEqual(self.state(), before)

    def test_no_change(self) -> None:
        """A reload of what is served already changes nothing, and says so."""
        before = self.state()
        outcome = self.reloaded()
        self.assertEqual((outcome.changed, outcome.generation, outcome.sites), (False, 1, 1))
        self.assertEqual(outcome.changes, ())
        self.assertEqual(self.state(), before)
        (record,) = self.told("CONFIG_RELOAD")
        self.assertEqual((record["changed"], record["generation"]), (False, 1))

    def test_renewed_certificate(self) -> None:
        """A renewed certificate is a change, although the file names the same paths."""
        former = self.generations.current.certificates
        self.pair("a.test")
        outcome = self.reloaded()
        self.assertEqual((outcome.changed, outcome.generation), (True, 2))
        self.assertEqual(outcome.changes, ("certificate a.test: renewed",))
        self.assertEqual(len(self.generations.current.certificates.renewed(former)), 1)

    def test_warnings(self) -> None:
        """A site without a certificate is a warning of the outcome and of the log."""
        self.file.now = self.configuration("a.test", sites=(site("b.test"),))
        (warning,) = self.reloaded().warnings
        self.assertIn("b.test", warning)
        self.assertEqual(self.told("TLS_CERTIFICATE"), [{"level": "warn", "error": warning}])
        self.reloaded()
        self.assertEqual(len(self.told("TLS_CERTIFICATE")), 1)

    def test_number_of_changes(self) -> None:
        """Of many changes the first thousand are told."""
        hosts = [f"{number}.test" for number in range(MOST_LINES + 10)]
        self.file.now = self.configuration("a.test", sites=tuple(map(site, hosts)))
        outcome = self.reloaded()
        self.assertEqual(len(outcome.changes), MOST_LINES)
        self.assertEqual(outcome.changes[0], "site 0.test: added")
        self.assertEqual(outcome.sites, MOST_LINES + 11)


class FailureTests(ReloadCase):
    def check_failed(self, error: str, *, told_manager: bool = True) -> None:
        """The failure is on record once, and over for the service manager."""
        fields = {"level": "error", "status": "error", "error": error}
        self.assertEqual(self.told("CONFIG_RELOAD"), [fields])
        over = ["reloading", "ready: the last reload failed"] if told_manager else []
        self.assertEqual(self.notifier.heard, over)

    def check_next(self) -> None:
        """Another reload is possible."""
        self.file.now = self.configuration("a.test", rate_limit=RateLimit(1, 2))
        self.assertEqual(self.reloaded().generation, 2)

    def test_mistakes(self) -> None:
        """A configuration with mistakes changes nothing, and all of them are told."""
        before = self.state()
        self.file.now = mistaken("wrong", "wrong too")
        asked = self.reload.request()
        self.assertEqual(self.mistakes(asked), ["sites[0]: wrong", "sites[1]: wrong too"])
        self.assertEqual(self.state(), before)
        self.check_failed("config validation failed: sites[0]: wrong; sites[1]: wrong too")
        self.check_next()

    def test_one_line(self) -> None:
        """The line that tells mistakes is bounded, and says how many it leaves out."""
        line = in_one_line(mistaken(*["wrong"] * (MOST_LINES + 5)))
        self.assertTrue(line.startswith("config validation failed: sites[0]: wrong; "))
        self.assertEqual(line.count("wrong"), MOST_LINES)
        self.assertTrue(line.endswith(f"sites[{MOST_LINES - 1}]: wrong; and 5 more"))
        self.assertEqual(
            in_one_line(mistaken("wrong")), "config validation failed: sites[0]: wrong"
        )

    def test_unusable_certificate(self) -> None:
        """A certificate that cannot be used keeps everything as it is."""
        before = self.state()
        self.file.now = self.configuration("a.test", "b.test")
        (mistake,) = self.mistakes(self.reload.request())
        self.assertTrue(mistake.startswith("listeners[0].tls: "), mistake)
        self.assertIn("b.test/fullchain.pem: cannot be read", mistake)
        self.assertEqual(self.state(), before)
        self.check_next()

    def test_too_few_descriptors(self) -> None:
        """More connections than there can be keep everything as it is."""
        before = self.state()
        self.file.now = self.configuration("a.test", limits=Limits(max_connections=1000))
        (mistake,) = self.mistakes(self.reload.request())
        self.assertTrue(mistake.startswith("limits.max_connections: "), mistake)
        self.assertEqual(self.state(), before)

    def test_unusable_log_file(self) -> None:
        """A log file that cannot be opened keeps everything as it is."""
        before = self.state()
        path = str(self.folder / "none" / "a.log")
        logged = site("a.test", log_file_path=path)
        self.file.now = self.configuration("a.test", sites=(logged,))
        (mistake,) = self.mistakes(self.reload.request())
        self.assertTrue(mistake.startswith(f"{path}: cannot be opened"), mistake)
        self.assertEqual(self.state(), before)
        self.check_failed(f"config validation failed: {mistake}")

    def test_mistake_of_our_own(self) -> None:
        """An unexpected failure reaches all who asked, is on record, and blocks nothing."""
        before = self.state()
        self.threads.held = True
        preview = Deferred.fromCoroutine(self.reload.preview())
        everybody = [self.reload.request() for _ in range(3)]
        self.threads.run()
        self.successResultOf(preview)
        self.file.now = KeyError("mistake")
        self.threads.held = False
        self.threads.run()
        for asked in everybody:
            self.failureResultOf(asked, KeyError)
        self.assertEqual(self.state(), before)
        self.check_failed("internal error")
        self.check_next()

    def test_no_file(self) -> None:
        """Where no file was read there is none to read again."""
        self.reload = self.reload_by(None)
        failure = self.failureResultOf(self.reload.request(), ReloadRefusedError)
        self.assertEqual(str(failure.value), "there is no configuration file to read again")
        self.check_failed("there is no configuration file to read again", told_manager=False)

    def test_draining(self) -> None:
        """A process that is about to end reloads nothing, and does not take back that it is."""
        before = self.generations.current
        self.drain()
        self.file.now = self.configuration("a.test", rate_limit=RateLimit(1, 2))
        self.failureResultOf(self.reload.request(), ReloadRefusedError)
        self.assertIs(self.generations.current, before)
        self.assertEqual(self.file.reads, 0)
        self.check_failed("the process is about to end", told_manager=False)

    def test_drain_begins_meanwhile(self) -> None:
        """What was built when the end began is not served any more."""
        before = self.generations.current
        self.file.now = self.configuration("a.test", rate_limit=RateLimit(1, 2))

        def read() -> Configuration:
            self.drain()
            return self.file.read()

        self.failureResultOf(self.reload_by(read).request(), ReloadRefusedError)
        self.assertIs(self.generations.current, before)
        self.assertEqual(self.generations.router.plan.limiter.burst, 20)
        self.assertEqual(self.notifier.heard, ["reloading"])


class CoalescingTests(ReloadCase):
    def setUp(self) -> None:
        super().setUp()
        self.threads.held = True

    def burst(self, burst: int) -> Configuration:
        """What the file holds from now on."""
        whole = self.configuration("a.test", rate_limit=RateLimit(1, burst))
        self.file.now = whole
        return whole

    def results(self, everybody: list[Deferred[Outcome]]) -> list[int]:
        """The generation that each was told of."""
        return [self.successResultOf(asked).generation for asked in everybody]

    def test_before_it_begins(self) -> None:
        """All who ask before a reload has begun share it: the file is read once."""
        preview = Deferred.fromCoroutine(self.reload.preview())
        everybody = [self.reload.request() for _ in range(5)]
        wanted = self.burst(30)
        self.threads.run()
        self.successResultOf(preview)
        self.file.reads = 0
        self.threads.run()
        self.assertEqual(self.results(everybody), [2] * 5)
        self.assertEqual((self.file.reads, self.threads.waiting), (1, []))
        self.assertEqual(self.generations.current.configuration, wanted)
        self.assertEqual(len(self.told("CONFIG_RELOAD")), 1)

    def test_while_one_is_made(self) -> None:
        """Those who ask during a reload cause one more, however many; it reads the last file."""
        first = self.reload.request()
        self.burst(30)
        later = [self.reload.request() for _ in range(5)]
        self.threads.run()
        self.assertEqual(self.successResultOf(first).generation, 2)
        for asked in later:
            self.assertNoResult(asked)
        last = self.burst(40)
        self.threads.run()
        self.assertEqual(self.results(later), [3] * 5)
        self.assertEqual((self.file.reads, self.threads.waiting), (2, []))
        self.assertEqual(self.generations.current.configuration, last)

    def test_after_a_failure(self) -> None:
        """Those who ask during a reload that fails get the outcome of the next."""
        first = self.reload.request()
        later = self.reload.request()
        self.file.now = mistaken("wrong")
        self.threads.run()
        self.failureResultOf(first, ConfigErrors)
        self.assertNoResult(later)
        self.burst(30)
        self.threads.run()
        self.assertEqual(self.successResultOf(later).generation, 2)

    def test_asker_who_has_gone(self) -> None:
        """One who does not wait any more takes nothing from the others."""
        self.reload.request()
        impatient, patient = self.reload.request(), self.reload.request()
        self.threads.run()
        impatient.addErrback(lambda _: None)
        impatient.cancel()
        self.burst(30)
        self.threads.run()
        self.assertEqual(self.successResultOf(patient).generation, 2)

    def test_never_two_at_once(self) -> None:
        """Reload, preview and the reading of certificates wait for each other."""
        everything: list[Deferred[Any]] = [
            self.reload.request(),
            Deferred.fromCoroutine(self.reload.preview()),
            Deferred.fromCoroutine(self.reload.certificates()),
        ]
        for asked in everything:
            self.assertNoResult(asked)
            self.assertEqual(len(self.threads.waiting), 1)
            self.threads.run()
            self.successResultOf(asked)


class PreviewTests(ReloadCase):
    def preview(self) -> Deferred[Outcome]:
        return Deferred.fromCoroutine(self.reload.preview())

    def test_changes_nothing(self) -> None:
        """A preview tells what a reload would come to, and everything stays as it is."""
        before = self.state()
        self.pair("b.test")
        self.file.now = self.configuration("a.test", "b.test", rate_limit=RateLimit(10, 30))
        outcome = self.successResultOf(self.preview())
        self.assertEqual((outcome.changed, outcome.generation, outcome.sites), (True, 2, 2))
        self.assertIn("rate_limit.burst: 20 -> 30", outcome.changes)
        self.assertIn("site b.test: added", outcome.changes)
        self.assertEqual(self.state(), before)
        self.assertEqual((self.log.records, self.notifier.heard), ([], []))
        self.assertEqual(self.reloaded(), outcome)

    def test_restart_required_is_not_taken_for_told(self) -> None:
        """What a preview says of a restart is still told by the reload after it."""
        self.file.now = self.configuration("a.test", health_check_port=1)
        outcome = self.successResultOf(self.preview())
        self.assertEqual(outcome.restart_required, ("health_check_port",))
        self.assertEqual(self.reload.restart_required, ())
        self.reloaded()
        self.assertEqual(len(self.told("RESTART_REQUIRED")), 1)

    def test_mistakes(self) -> None:
        """A preview of mistakes fails with them, and blocks nothing."""
        self.file.now = mistaken("wrong")
        self.assertEqual(self.mistakes(self.preview()), ["sites[0]: wrong"])
        self.assertEqual(self.log.records, [])
        self.file.now = self.configuration("a.test")
        self.successResultOf(self.preview())

    def test_refused(self) -> None:
        """There is no preview of what would be refused."""
        self.drain()
        self.failureResultOf(self.preview(), ReloadRefusedError)
