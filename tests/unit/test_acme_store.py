"""Certificates on disk: never a bad one in place of a good one, whatever happens when."""

from __future__ import annotations

import json
import os
from pathlib import Path

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from revproxy.tls.acme import store as store_module
from revproxy.tls.acme.files import TEMPORARY, read_private
from revproxy.tls.acme.issued import MAX_CERTIFICATE_BYTES, MAX_CHAIN, SKEW_SECS
from revproxy.tls.acme.record import MAX_RECORD_BYTES, MAX_TEXT, Record, parse_record
from revproxy.tls.acme.store import Entry, Store, entry_id
from revproxy.tls.acme.validation import MAX_NAMES, new_key
from revproxy.tls.contexts import server_context
from revproxy.tls.self_signed import self_signed
from tests.support.tls_peers import NOW, Handshake, client_context

URL = "https://acme.test/directory"
NAMES = ("a.test", "b.test")
RECORD = Record(NAMES, URL)
FULL = Record(
    names=NAMES,
    directory=URL,
    profile="shortlived",
    certificate="0" * 64,
    previous="1" * 64,
    replaces="aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE",
    issued_at=NOW,
    window=(NOW, NOW + 1.5),
    renew_at=NOW + 1,
    check_at=NOW + 2,
    failures=3,
    last_failure="rateLimited",
    last_error="too many certificates",
    next_attempt=NOW + 3,
    order_url="https://acme.test/order/1",
)
OLD, NEW = self_signed(NAMES, now=NOW), self_signed([*NAMES, "192.0.2.1"], now=NOW)


class Dies(BaseException):
    """The process is killed."""


class StoreCase(SynchronousTestCase):
    """A cache directory of its own."""

    def setUp(self) -> None:
        self.root = Path(self.mktemp()).absolute()
        self.reports: list[str] = []
        self.store = Store(self.root, self.reports.append)
        self.identifier = entry_id(NAMES, URL)

    def path(self, kind: str) -> Path:
        return self.root / "certs" / f"{self.identifier}.{kind}"

    def save(self, pair: tuple[bytes, bytes], record: Record = RECORD) -> Entry:
        return self.store.save_certificate(record, pair[1], pair[0], now=NOW)

    def load(self) -> Entry:
        entry = self.store.load(NAMES, URL)
        assert entry is not None
        return entry

    def spoil(self, kind: str, content: bytes) -> None:
        self.path(kind).write_bytes(content)
        self.path(kind).chmod(0o600)

    def served(self) -> bytes | None:
        """The chain that would be served, which a handshake proves to go with its key."""
        entry = self.store.load(NAMES, URL)
        if entry is None or entry.certificate is None:
            return None
        pems = entry.certificate.chain_pem, entry.certificate.key_pem
        Handshake(server_context(*pems, alpn=("x",), session_tickets=False), client_context())
        return entry.certificate.chain_pem


class IdTests(SynchronousTestCase):
    """What the files are called."""

    def test_set_of_names(self) -> None:
        """The same names at the same CA are the same entry, in whatever order and case."""
        self.assertEqual(entry_id(["B.test", "a.test", "b.test"], URL), entry_id(NAMES, URL))
        self.assertRegex(entry_id(NAMES, URL), r"\Aa\.test-[0-9a-f]{16}\Z")

    def test_apart(self) -> None:
        """Another set of names or another CA is another entry."""
        ids = {entry_id(NAMES, URL), entry_id(NAMES, URL + "2"), entry_id(["a.test"], URL)}
        self.assertEqual(len(ids | {entry_id([*NAMES, "c.test"], URL)}), 4)

    def test_file_names(self) -> None:
        """Every kind of name makes a plain file name."""
        for name in ("*.a.test", "2001:db8::1", ".".join(["a" * 60] * 4)):
            self.assertRegex(entry_id([name], URL), r"\A[a-z0-9_][a-z0-9._-]{0,79}-[0-9a-f]{16}\Z")


class SaveTests(StoreCase):
    """Certificates that are accepted."""

    def test_none(self) -> None:
        """There is nothing at first, and asking makes no directory."""
        self.assertIsNone(self.store.load(NAMES, URL))
        self.assertEqual(self.store.entries(), [])
        self.assertFalse(self.root.exists())

    def test_first(self) -> None:
        """A certificate is there with its key, in one private file."""
        entry = self.save(OLD)
        self.assertEqual(self.load(), entry)
        certificate = entry.certificate
        assert certificate is not None
        self.assertEqual(certificate.names, set(NAMES))
        self.assertEqual(certificate.not_after, float(int(NOW + 30 * 86400)))
        self.assertEqual(read_private(self.path("pem"), 9999), OLD[1] + OLD[0])
        self.assertEqual(self.served(), OLD[0])
        self.assertEqual(entry.record.issued_at, NOW)

    def test_next(self) -> None:
        """The next one takes its place, and the one before is kept."""
        first = self.save(OLD)
        second = self.save(NEW, first.record)
        self.assertEqual(self.served(), NEW[0])
        self.assertEqual(self.path("previous.pem").read_bytes(), OLD[1] + OLD[0])
        self.assertEqual(second.record.previous, first.record.certificate)
        self.assertEqual(self.load(), second)

    def test_the_same_again(self) -> None:
        """Saving a certificate again does not make it its own predecessor."""
        first = self.save(OLD)
        second = self.save(NEW, first.record)
        self.assertEqual(self.save(NEW, second.record).record, second.record)
        self.assertEqual(self.path("previous.pem").read_bytes(), OLD[1] + OLD[0])

    def test_over_with(self) -> None:
        """Failures, window and order are over with a new certificate; the profile stays."""
        record = self.store.begin_order(FULL, FULL.order_url, OLD[1])
        entry = self.store.save_certificate(record, OLD[1], OLD[0], now=NOW, replaces="x.y")
        fresh = Record(NAMES, URL, "shortlived", entry.record.certificate, FULL.previous, "x.y")
        self.assertEqual(entry.record, attrs.evolve(fresh, issued_at=NOW))
        self.assertFalse(self.path("key.pem").exists())

    def test_private(self) -> None:
        """Everything is its owner's alone, and no key is in a repr."""
        first = self.save(OLD)
        self.save(NEW, first.record)
        record = self.store.begin_order(self.load().record, "https://acme.test/1", new_key())
        modes = {
            path.name: path.stat().st_mode & 0o777 for path in (self.root / "certs").iterdir()
        }
        kinds = ("pem", "previous.pem", "json", "key.pem")
        self.assertEqual(modes, {f"{self.identifier}.{kind}": 0o600 for kind in kinds})
        self.assertEqual((self.root / "certs").stat().st_mode & 0o777, 0o700)
        self.assertNotIn("PRIVATE", repr(self.load()) + repr(record))

    def test_expired(self) -> None:
        """A certificate that has expired in the store is served rather than none."""
        pair = self_signed(NAMES, now=NOW, days=1)
        self.save(pair)
        entry = self.load()
        assert entry.certificate is not None
        self.assertLess(entry.certificate.not_after, NOW + 2 * 86400)

    def test_clock_skew(self) -> None:
        """A certificate may begin to be valid a little later than our clock says."""
        begins = int(NOW - 3600)
        self.store.save_certificate(RECORD, OLD[1], OLD[0], now=begins - SKEW_SECS + 2)
        with self.assertRaisesRegex(ValueError, "not valid before"):
            self.store.save_certificate(RECORD, OLD[1], OLD[0], now=begins - SKEW_SECS - 2)


class RefusedTests(StoreCase):
    """Certificates that are refused: the present one goes on."""

    def setUp(self) -> None:
        super().setUp()
        self.record = self.save(OLD).record

    def refused(self, words: str, key_pem: bytes, chain_pem: bytes, now: float = NOW) -> None:
        before = sorted((path, path.read_bytes()) for path in (self.root / "certs").iterdir())
        with self.assertRaises(ValueError) as caught:
            self.store.save_certificate(self.record, key_pem, chain_pem, now=now)
        self.assertIn(words, str(caught.exception))
        after = sorted((path, path.read_bytes()) for path in (self.root / "certs").iterdir())
        self.assertEqual(before, after)

    def test_unreadable(self) -> None:
        """What is no certificate, also behind a good one, or no key."""
        for chain in (b"", b"garbage", NEW[0][:200], NEW[0] + NEW[0].replace(b"M", b"N")):
            self.refused("no readable PEM certificate", NEW[1], chain)
        self.refused("no readable PEM private key", b"garbage", NEW[0])

    def test_not_the_keys(self) -> None:
        """A certificate for another key."""
        self.refused("is not the private key", OLD[1], NEW[0])

    def test_names(self) -> None:
        """A certificate without one of the names ordered, which is told."""
        chain_pem, key_pem = self_signed(["a.test", "*.test"], now=NOW)
        self.refused("does not cover b.test", key_pem, chain_pem)

    def test_dates(self) -> None:
        """A certificate that has expired."""
        self.refused("expired on", NEW[1], NEW[0], NOW + 31 * 86400)

    def test_too_much(self) -> None:
        """A chain that is too long or too large."""
        self.refused("a chain of more than", NEW[1], NEW[0] * (MAX_CHAIN + 1))
        self.refused("is larger than", NEW[1], NEW[0] + b"\n" * MAX_CERTIFICATE_BYTES)

    def test_rest_is_dropped(self) -> None:
        """What a CA sends between certificates, a key even, is not stored."""
        self.store.save_certificate(
            self.record, NEW[1], b"text\n" + NEW[0] + OLD[1] + b"more", now=NOW
        )
        self.assertEqual(self.path("pem").read_bytes(), NEW[1] + NEW[0])


class OrderTests(StoreCase):
    """Orders that are open."""

    def test_round_trip(self) -> None:
        """An order is remembered with its key until it is ended."""
        key_pem = new_key()
        begun = self.store.begin_order(RECORD, "https://acme.test/1", key_pem)
        self.assertEqual(self.load(), Entry(self.identifier, begun, None, key_pem))
        ended = self.store.end_order(begun)
        self.assertEqual(ended, RECORD)
        self.assertEqual(self.load(), Entry(self.identifier, RECORD))
        self.assertFalse(self.path("key.pem").exists())

    def test_never_another_orders_key(self) -> None:
        """Wherever a process dies in beginning an order, no order is found with another's key."""
        keys = {"https://acme.test/1": new_key(), "https://acme.test/2": new_key()}
        for writes in range(4):
            first, second = keys
            record = self.store.begin_order(RECORD, first, keys[first])
            DyingStore(self, writes).run(self.store.begin_order, record, second, keys[second])
            entry = self.load()
            if entry.record.order_url:
                self.assertEqual(entry.order_key_pem, keys[entry.record.order_url], writes)

    def test_key_lost(self) -> None:
        """An order whose key is gone has none."""
        self.store.begin_order(RECORD, "https://acme.test/1", new_key())
        self.path("key.pem").unlink()
        self.assertIsNone(self.load().order_key_pem)


class DyingStore:
    """Lets the store die at one of its writes."""

    def __init__(self, case: SynchronousTestCase, writes: int) -> None:
        self._case = case
        self._left = writes
        self._real = {name: getattr(store_module, name) for name in ("write_private", "remove")}

    def run(self, call: object, *arguments: object, **more: object) -> bool:
        """Whether ``call`` came to its end."""
        patches = [
            self._case.patch(store_module, name, self._counted(name)) for name in self._real
        ]
        try:
            call(*arguments, **more)  # type: ignore[operator]
        except Dies:
            return False
        finally:
            for patch in patches:
                patch.restore()
        return True

    def _counted(self, name: str) -> object:
        def write(*arguments: object) -> None:
            if not self._left:
                raise Dies
            self._left -= 1
            self._real[name](*arguments)

        return write


class CrashTests(StoreCase):
    """A process that dies while it saves a certificate."""

    def test_anywhere(self) -> None:
        """Old or new is served, whole; what is remembered is about what is served."""
        outcomes = []
        for writes in range(6):
            self.save(OLD)
            record = attrs.evolve(self.load().record, failures=2, renew_at=NOW, window=(1.0, 2.0))
            record = self.store.begin_order(record, "https://acme.test/1", NEW[1])
            done = DyingStore(self, writes).run(
                self.store.save_certificate, record, NEW[1], NEW[0], now=NOW
            )
            served, entry = self.served(), self.load()
            outcomes.append((done, served == NEW[0]))
            if served == OLD[0]:
                self.assertEqual((entry.record, entry.order_key_pem), (record, NEW[1]))
            else:
                self.assertEqual(served, NEW[0])
                left = (entry.record.failures, entry.record.renew_at, entry.record.order_url)
                self.assertEqual(left, (0, None, ""))
        # In order: the previous one, the new one, the record, the order's key.
        expected = [(False, False), (False, False), (False, True), (False, True)]
        self.assertEqual(outcomes, [*expected, (True, True), (True, True)])
        self.assertEqual(self.reports, [])


class BrokenTests(StoreCase):
    """Files that nothing can be made of: reported, put aside, and never an error."""

    def setUp(self) -> None:
        super().setUp()
        self.save(NEW, self.save(OLD).record)

    def test_broken_certificate(self) -> None:
        """The previous one stands in for a broken one, and a new one is accepted."""
        for content in (b"", b"garbage", NEW[1], NEW[0], NEW[1] + OLD[0]):
            self.spoil("pem", content)
            self.assertEqual(self.served(), OLD[0])
            self.assertEqual(self.path("pem.broken").read_bytes(), content)
        self.assertIn("stands in for", self.reports[-1])
        self.assertNotIn("PRIVATE", "".join(self.reports))
        self.save(NEW, self.load().record)
        self.assertEqual(self.served(), NEW[0])
        self.assertEqual(self.path("previous.pem").read_bytes(), OLD[1] + OLD[0])

    def test_both_broken(self) -> None:
        """Without a good file there is no certificate, but what is remembered stays."""
        self.store.save_record(attrs.evolve(self.load().record, failures=3))
        for kind in ("pem", "previous.pem"):
            self.spoil(kind, b"garbage")
        entry = self.load()
        self.assertIsNone(entry.certificate)
        self.assertEqual(entry.record.failures, 3)

    def test_open_to_others(self) -> None:
        """A key that others may write is not served, and left for somebody to look at."""
        self.path("pem").chmod(0o620)
        self.assertEqual(self.served(), OLD[0])
        self.assertTrue(self.path("pem").exists())
        self.assertIn("open to other users", self.reports[0])

    def test_copied(self) -> None:
        """One that others may read, as after a copy, is served, and closed to them with a word."""
        self.path("pem").chmod(0o644)
        self.assertEqual(self.served(), NEW[0])
        self.assertEqual(self.path("pem").stat().st_mode & 0o777, 0o600)
        (report,) = self.reports
        self.assertIn("was open to other users (mode 0644)", report)
        self.assertEqual(self.served(), NEW[0])
        self.assertEqual(len(self.reports), 1)

    def test_broken_record(self) -> None:
        """A broken record is put aside; the certificate is served all the same."""
        for content in (b"", b"[]", b"\xff", b"{}", b'{"a":' + b"[" * 60_000):
            self.spoil("json", content)
            self.assertEqual(self.served(), NEW[0])
            self.assertEqual(self.path("json.broken").read_bytes(), content)
            self.assertEqual(self.load().record.failures, 0)
        self.spoil("json", b" " * (MAX_RECORD_BYTES + 1))
        self.assertEqual(self.served(), NEW[0])

    def test_record_of_another(self) -> None:
        """A record that was copied from another entry is not believed."""
        self.spoil("json", Record(("c.test",), URL, failures=9).encode())
        self.assertEqual(self.load().record.failures, 0)
        self.assertIn("another", self.reports[0])


class ListTests(StoreCase):
    """All entries."""

    def test_entries(self) -> None:
        """Each entry is listed once, with and without a certificate; strange files are not."""
        self.save(OLD)
        self.store.save_record(Record(("c.test",), URL, failures=1))
        (self.root / "certs" / "strange.json").write_bytes(b"{}")
        (self.root / "certs" / "strange.json").chmod(0o600)
        entries = self.store.entries()
        self.assertEqual([entry.record.names for entry in entries], [NAMES, ("c.test",)])
        self.assertEqual([entry.certificate is None for entry in entries], [False, True])
        self.assertEqual(len(self.reports), 1)

    def test_bounded(self) -> None:
        """No more are listed than the bound says."""
        self.patch(store_module, "MOST_ENTRIES", 2)
        for number in range(3):
            self.store.save_record(Record((f"{number}.test",), URL))
        self.assertEqual(len(self.store.entries()), 2)

    def test_sweep(self) -> None:
        """Old unfinished files go."""
        self.save(OLD)
        leftover = self.root / "certs" / f"{TEMPORARY}x"
        leftover.write_bytes(OLD[1])
        os.utime(leftover, (1, 1))
        self.store.sweep(2.0)
        self.assertFalse(leftover.exists())
        self.assertEqual(self.served(), OLD[0])

    def test_lock(self) -> None:
        """Each entry has a lock of its own."""
        first, same = self.store.lock(NAMES, URL), self.store.lock(NAMES[::-1], URL)
        other = self.store.lock(NAMES, URL + "2")
        for lock, granted in ((first, True), (same, False), (other, True)):
            self.addCleanup(lock.release)
            self.assertIs(lock.try_acquire(), granted)


class RecordTests(StoreCase):
    """What is remembered."""

    def test_round_trip(self) -> None:
        """Everything that is written is read; what a later version adds is passed over."""
        self.assertEqual(parse_record(FULL.encode()), FULL)
        more = json.loads(FULL.encode()) | {"later": [1]}
        self.assertEqual(parse_record(json.dumps(more).encode()), FULL)
        self.store.save_record(FULL)
        self.assertEqual(self.load().record, FULL)

    def test_about_another(self) -> None:
        """What was remembered of another certificate does not hold for the one that is there."""
        self.save(OLD)
        self.store.save_record(FULL)
        record = self.load().record
        self.assertEqual((record.failures, record.renew_at, record.order_url), (0, None, ""))
        self.assertEqual((record.profile, record.previous), ("shortlived", FULL.certificate))

    def test_long_error(self) -> None:
        """An error is cut; with everything at its longest the record can be read again."""
        names = tuple(f"{number:03}." + ".".join(["a" * 60] * 4) for number in range(MAX_NAMES))
        text = "\U0001f600" * MAX_TEXT
        longest = attrs.evolve(
            FULL,
            names=names,
            last_error=text + "more",
            order_url=text,
            last_failure=text,
            profile=text,
            directory=text,
            replaces=text,
            certificate=text,
            previous=text,
        )
        content = longest.encode()
        self.assertLessEqual(len(content), MAX_RECORD_BYTES)
        self.assertEqual(parse_record(content), attrs.evolve(longest, last_error=text))

    def test_refused(self) -> None:
        """What could not be read again is not written."""
        bad = [{"renew_at": value} for value in (float("nan"), float("inf"), -1.0, 1e12)]
        for change in (*bad, {"order_url": "x" * (MAX_TEXT + 1)}, {"failures": -1}):
            with self.assertRaises(ValueError, msg=change):
                self.store.save_record(attrs.evolve(FULL, **change))  # type: ignore[arg-type]

    def test_wrong_types(self) -> None:
        """A field of a wrong type is refused in words, whichever it is."""
        good = json.loads(FULL.encode())
        for key in good:
            for value in ({}, True, [1], [1, "2"], ["a.test", 1], "1" if key != "x" else 1):
                if (isinstance(value, str) and isinstance(good[key], str)) or good[key] == value:
                    continue
                with self.assertRaises(ValueError, msg=(key, value)):
                    parse_record(json.dumps(good | {key: value}).encode())

    @settings(deadline=None, derandomize=True, max_examples=300)
    @given(
        st.sampled_from([field.name for field in attrs.fields(Record)]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=3),
            max_leaves=4,
        ),
    )
    def test_anything(self, key: str, value: object) -> None:
        """Any value in any field gives a record that can be written again, or a ValueError."""
        content = json.dumps(json.loads(FULL.encode()) | {key: value}).encode()
        try:
            record = parse_record(content)
        except ValueError:
            return
        self.assertEqual(parse_record(record.encode()), record)
