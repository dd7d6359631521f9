"""Certificates while they are served: when their files are read again, and what is told."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from revproxy.control import generation
from revproxy.control.certificate_watch import (
    DAY_SECS,
    LOOK_SECS,
    RETRY_SECS,
    SOON_DAYS,
    CertificateWatch,
)
from revproxy.model.tls import ClientHello
from revproxy.tls import pem
from revproxy.tls.certificates import TICKET_KEY_SECS, Identities
from revproxy.tls.self_signed import self_signed, write_pair
from tests.support.served import HeldThreads, ReloadCase

NOON = 1_800_014_400.0
"""The beginning of a period of ticket keys."""


class CountingIdentities(Identities):
    """Counts how often a pair was read."""

    def __init__(self) -> None:
        super().__init__()
        self.loads = 0

    def load(self, *pair: Any, **how: Any) -> Any:
        self.loads += 1
        return super().load(*pair, **how)


class WatchCase(ReloadCase):
    """The certificate of ``a.test`` is served and watched, by the real reload."""

    def setUp(self) -> None:
        self.identities = CountingIdentities()
        self.patch(generation, "Identities", lambda: self.identities)
        super().setUp()
        self.looks = HeldThreads()
        self.written = 0
        self.watch = self.watch_by(self.looks)

    def watch_by(self, in_thread: HeldThreads) -> CertificateWatch:
        """What watches, and looks in ``in_thread``."""
        return CertificateWatch(
            self.reactor,
            lambda: self.generations.current.certificates,
            self.reload.certificates,
            in_thread,
            self.log,
            lambda: self.wall,
        )

    def look(self, times: int = 1) -> None:
        """Let the time of so many looks pass."""
        for _ in range(times):
            self.wall += LOOK_SECS
            self.reactor.advance(LOOK_SECS)

    def reads(self, looks: int) -> list[int]:
        """How many pairs each of so many looks has read again."""
        counts = []
        for _ in range(looks):
            before = self.identities.loads
            self.look()
            counts.append(self.identities.loads - before)
        return counts

    def part(self, name: str) -> Path:
        """A file of the pair of ``a.test``."""
        return self.folder / "a.test" / name

    def overwrite(self, name: str, content: bytes) -> None:
        """Write a file of that pair in its place, later than whenever it was written before."""
        path = self.part(name)
        path.write_bytes(content)
        self.written += 1
        os.utime(path, (self.wall + self.written, self.wall + self.written))

    @property
    def presented(self) -> object:
        """The identity that a handshake for ``a.test`` gets."""
        return self.tls_port.choose(ClientHello("a.test"))


class ChangeTests(WatchCase):
    def setUp(self) -> None:
        super().setUp()
        self.watch.startService()

    def test_nothing_changes(self) -> None:
        """Files that do not change are looked at, and not read."""
        self.assertEqual(self.reads(5), [0] * 5)
        self.assertEqual(self.looks.made, 6)
        self.assertEqual(self.log.records, [])

    def test_settled(self) -> None:
        """A change is acted on once two looks have found it alike, and only then."""
        former = self.presented
        self.pair("a.test")
        self.assertEqual(self.reads(4), [0, 1, 0, 0])
        self.assertIsNot(self.presented, former)
        self.assertEqual([one["status"] for one in self.told("CERTIFICATE_RELOAD")], ["success"])

    def test_still_changing(self) -> None:
        """What is different at every look is not read until it has come to rest."""
        for size in range(5):
            self.overwrite("privkey.pem", b"x" * size)
            self.assertEqual(self.reads(1), [0])
        self.pair("a.test")
        self.assertEqual(self.reads(3), [0, 1, 0])

    def test_two_steps(self) -> None:
        """A pair whose files are written one after the other is never read in between."""
        cert, key = self_signed(["a.test"], now=self.wall)
        self.overwrite("privkey.pem", key)
        self.look()
        self.overwrite("fullchain.pem", cert)
        self.assertEqual(self.reads(3), [0, 1, 0])
        self.assertEqual([one["status"] for one in self.told("CERTIFICATE_RELOAD")], ["success"])

    def test_touched(self) -> None:
        """A file that is only written anew as it was is read once, and nothing is told."""
        former = self.presented
        self.overwrite("fullchain.pem", self.part("fullchain.pem").read_bytes())
        self.assertEqual(self.reads(3), [0, 1, 0])
        self.assertIs(self.presented, former)
        self.assertEqual(self.log.records, [])

    def test_links(self) -> None:
        """Links that are pointed to the files of a renewal are a change, as certbot makes it."""
        write_pair(self.folder / "archive", *self_signed(["a.test"], now=self.wall))
        former = self.presented
        for name in ("privkey.pem", "fullchain.pem"):
            link = self.folder / "link"
            link.symlink_to(self.folder / "archive" / name)
            link.rename(self.part(name))
        self.assertEqual(self.reads(3), [0, 1, 0])
        self.assertIsNot(self.presented, former)

    def test_of_the_next_generation(self) -> None:
        """After a reload the files of the new generation are watched."""
        self.pair("b.test")
        self.reload = self.reload_by(lambda: self.configuration("a.test", "b.test"))
        self.reloaded()
        self.look(2)
        self.pair("b.test")
        self.assertEqual(self.reads(3), [0, 2, 0])

    def test_read_by_a_reload(self) -> None:
        """What a reload has read meanwhile is not read again."""
        self.pair("a.test")
        self.look()
        self.reload = self.reload_by(lambda: self.configuration("a.test"))
        self.assertTrue(self.reloaded().changed)
        self.assertEqual(self.reads(3), [0, 0, 0])


class FailureTests(WatchCase):
    def setUp(self) -> None:
        super().setUp()
        self.watch.startService()

    def test_told_once(self) -> None:
        """A pair that cannot be used is told once, and not read again while it is as it is."""
        former = self.presented
        self.overwrite("privkey.pem", b"no key")
        self.assertEqual(self.reads(6), [0, 1, 0, 0, 0, 0])
        self.assertEqual([one["status"] for one in self.told("CERTIFICATE_RELOAD")], ["error"])
        self.assertIs(self.presented, former)

    def test_missing(self) -> None:
        """So is a pair whose file is gone, until there is one again."""
        self.part("privkey.pem").unlink()
        self.assertEqual(self.reads(4), [0, 1, 0, 0])
        self.pair("a.test")
        self.assertEqual(self.reads(4), [0, 1, 0, 0])
        states = [one["status"] for one in self.told("CERTIFICATE_RELOAD")]
        self.assertEqual(states, ["error", "success"])

    def test_recovered(self) -> None:
        """That a pair can be used again is told, though it is the one that is served."""
        former, key = self.presented, self.part("privkey.pem").read_bytes()
        self.part("privkey.pem").unlink()
        self.look(2)
        self.part("privkey.pem").write_bytes(key)
        self.look(2)
        self.assertIs(self.presented, former)
        states = [one["status"] for one in self.told("CERTIFICATE_RELOAD")]
        self.assertEqual(states, ["error", "success"])

    def test_tried_again(self) -> None:
        """What could not be read for a moment is read again after a while, without a change."""
        former = self.presented
        self.pair("a.test")
        self.patch(pem, "MAX_PEM_BYTES", 1)
        self.look(2)
        self.assertIs(self.presented, former)
        self.patch(pem, "MAX_PEM_BYTES", 2**20)
        looks = self.reads(int(RETRY_SECS / LOOK_SECS) + 2)
        self.assertEqual(sum(looks), 1)
        self.assertEqual(sum(looks[:-3]), 0)
        self.assertIsNot(self.presented, former)
        states = [one["status"] for one in self.told("CERTIFICATE_RELOAD")]
        self.assertEqual(states, ["error", "success"])

    def test_look_that_fails(self) -> None:
        """A failure of our own is logged, and the next look comes all the same."""
        self.look()

        def fail() -> None:
            raise KeyError("mistake")

        patched = self.patch(self.generations, "reload_certificates", fail)
        self.pair("a.test")
        self.look(2)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        patched.restore()
        former = self.presented
        self.look(2)
        self.assertIsNot(self.presented, former)


class TicketKeyTests(WatchCase):
    def setUp(self) -> None:
        super().setUp()
        self.wall = NOON - 2.5 * LOOK_SECS
        self.pair("a.test")
        self.pair("b.test")
        self.serve(self.configuration("a.test", "b.test"))
        self.reload = self.reload_by(None)
        self.watch = self.watch_by(self.looks)
        self.watch.startService()

    def test_boundary(self) -> None:
        """At the end of their period all ticket keys are made anew, once, and nothing is told."""
        former = self.presented
        self.assertEqual(self.reads(5), [0, 0, 2, 0, 0])
        self.assertIsNot(self.presented, former)
        self.assertEqual(self.log.records, [])
        self.wall += TICKET_KEY_SECS
        self.assertEqual(self.reads(3), [2, 0, 0])

    def test_failing_pair(self) -> None:
        """A pair that cannot be used keeps no other from new keys, nor are they made twice."""
        former = self.presented
        (self.folder / "b.test" / "privkey.pem").unlink()
        self.look(2)
        self.assertIs(self.presented, former)
        before = len(self.told("CERTIFICATE_RELOAD"))
        self.assertEqual(self.reads(4), [2, 0, 0, 0])
        self.assertIsNot(self.presented, former)
        self.assertEqual(len(self.told("CERTIFICATE_RELOAD")), before)

    def test_clock_that_is_set(self) -> None:
        """A clock that is set to another period gives new keys, once."""
        self.wall -= 10.5 * TICKET_KEY_SECS
        self.assertEqual(self.reads(3), [2, 0, 0])


class EndOfValidityTests(WatchCase):
    def endings(self) -> list[tuple[object, object]]:
        """The level and the sentence of every record about an end."""
        return [(one["level"], one["error"]) for one in self.told("TLS_CERTIFICATE")]

    def end(self) -> str:
        """Until when the certificate that is presented is valid."""
        identity: Any = self.presented
        return f"{datetime.fromtimestamp(identity.not_after, UTC):%Y-%m-%d %H:%M} UTC"

    def served_for(self, days: float) -> None:
        """Serve a certificate that has ``days`` left."""
        identity: Any = self.presented
        self.wall = identity.not_after - days * DAY_SECS
        self.watch.startService()

    def test_far_away(self) -> None:
        """A certificate that is valid for long enough is not mentioned."""
        self.served_for(SOON_DAYS + 0.01)
        self.look(3)
        self.assertEqual(self.endings(), [])

    def test_soon(self) -> None:
        """One that is about to expire is a warning with its name, its file and the days left."""
        self.served_for(3.5)
        fields = {
            "level": "warn",
            "name": "a.test",
            "file": str(self.part("fullchain.pem")),
            "error": f"expires in 3.5 days, on {self.end()}",
        }
        self.assertEqual(self.told("TLS_CERTIFICATE"), [fields])

    def test_once_a_day(self) -> None:
        """It is told once a day, and as an error once it has expired."""
        self.served_for(1.5)
        for _ in range(3):
            self.look(10)
            self.wall += DAY_SECS - 11 * LOOK_SECS
            self.look()
        self.assertEqual(
            self.endings(),
            [
                ("warn", f"expires in 1.5 days, on {self.end()}"),
                ("warn", f"expires in 0.5 days, on {self.end()}"),
                ("error", f"expired on {self.end()}"),
                ("error", f"expired on {self.end()}"),
            ],
        )

    def test_renewed(self) -> None:
        """A renewed certificate that ends soon is told by itself, at once."""
        self.served_for(3.5)
        self.pair("a.test", days=5)
        self.look(3)
        self.assertEqual([level for level, _ in self.endings()], ["warn", "warn"])

    def test_nothing_is_kept(self) -> None:
        """What has been told is forgotten after a day, when it may be told again."""
        self.served_for(3.5)
        self.pair("a.test", days=90)
        self.look(3)
        self.wall += DAY_SECS
        self.look()
        self.assertEqual(self.watch._told, {})


class LookTests(WatchCase):
    def setUp(self) -> None:
        super().setUp()
        self.looks.held = True

    def test_in_a_thread(self) -> None:
        """The reactor's thread touches no file: a look that hangs holds nothing up."""
        self.watch.startService()
        self.pair("a.test")
        self.assertEqual(self.reads(5), [0] * 5)
        self.assertEqual(len(self.looks.waiting), 1)
        self.looks.run()
        self.look()
        self.assertEqual(len(self.looks.waiting), 1)

    def test_first_look(self) -> None:
        """The first look is at the start, each further one comes after the one before it."""
        self.assertEqual(self.looks.waiting, [])
        self.watch.startService()
        self.assertEqual(len(self.looks.waiting), 1)
        self.looks.run()
        self.reactor.advance(LOOK_SECS - 0.1)
        self.assertEqual(self.looks.waiting, [])
        self.reactor.advance(0.1)
        self.assertEqual(len(self.looks.waiting), 1)

    def test_stop(self) -> None:
        """After a stop there is no further look."""
        self.watch.startService()
        self.looks.run()
        self.watch.stopService()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_stop_during_a_look(self) -> None:
        """A look that ends after the stop has no consequence."""
        before = self.identities.loads
        self.watch.startService()
        self.looks.run()
        self.pair("a.test")
        self.look()
        self.looks.run()
        self.look()
        self.watch.stopService()
        self.looks.run()
        self.assertEqual((self.identities.loads, self.log.records), (before, []))
        self.assertEqual((self.reactor.getDelayedCalls(), self.looks.waiting), ([], []))
