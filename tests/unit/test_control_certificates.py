"""The certificates of a configuration: what is served, and what cannot be."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from revproxy.control.certificates import (
    Certificates,
    Served,
    load_certificates,
)
from revproxy.errors import ConfigErrors
from revproxy.model.configuration import CertificatePair, Listener
from revproxy.model.tls import Alert, ClientHello, Identity
from revproxy.tls.certificates import TICKET_KEY_SECS, Identities
from revproxy.tls.pem import file_version
from revproxy.tls.self_signed import self_signed, write_pair
from tests.support.models import ADDRESS, configuration, listener, pair, site
from tests.support.tls_peers import NOW


class CertificateTests(SynchronousTestCase):
    def test_by_listener(self) -> None:
        """Every listener serves its own certificates, chosen by name."""
        one = listener(pairs=(pair("a.test"),))
        two = listener(pairs=(pair("b.test"),), https_port=8443)
        certificates = load_certificates(configuration(one, two), Identities(), NOW)
        self.assertEqual(set(certificates.selections), {(ADDRESS, 443), (ADDRESS, 8443)})
        hello = ClientHello("b.test")
        self.assertIsInstance(certificates.selections[ADDRESS, 443](hello), Alert)
        self.assertIsInstance(certificates.selections[ADDRESS, 8443](hello), Identity)

    def test_default_site(self) -> None:
        """The default site's certificate is for those who name nobody."""
        whole = configuration(listener(pairs=(pair("a.test"),)), default_site="a.test")
        certificates = load_certificates(whole, Identities(), NOW)
        self.assertIsInstance(certificates.selections[ADDRESS, 443](ClientHello()), Identity)

    def test_every_error(self) -> None:
        """All pairs that cannot be used are reported, each under its listener."""
        missing = CertificatePair("/nowhere/a.pem", "/nowhere/a.key")
        swapped = CertificatePair(pair("a.test").cert_path, pair("b.test").key_path)
        one = listener(pairs=(missing, swapped))
        two = listener(pairs=(pair("a.test"), missing), https_port=8443)
        with self.assertRaises(ConfigErrors) as caught:
            load_certificates(configuration(one, two), Identities(), NOW)
        paths = [error.path for error in caught.exception.errors]
        self.assertEqual(paths, ["listeners[0].tls"] * 2 + ["listeners[1].tls"])

    def test_uncovered_site(self) -> None:
        """A site that no certificate of its listener covers is a warning, included ones too."""
        whole = configuration(
            listener(site("a.test"), site("b.test"), pairs=(pair("a.test"),)),
            sites=(
                site("c.test"),
                site("d.test", listeners=(ADDRESS,)),
                site("e.test", listeners=("198.51.100.1",)),
            ),
        )
        certificates = load_certificates(whole, Identities(), NOW)
        self.assertEqual(certificates.uncovered, ("b.test", "c.test", "d.test"))
        self.assertEqual(
            [name for name in "abcde" if f"{name}.test" in " ".join(certificates.warnings)],
            ["b", "c", "d"],
        )

    def test_uncovered_on_several_listeners(self) -> None:
        """A site that several listeners cannot serve is one warning."""
        listeners = [listener(pairs=(pair("a.test"),), https_port=port) for port in (443, 8443)]
        whole = configuration(*listeners, sites=(site("b.test"),))
        self.assertEqual(len(load_certificates(whole, Identities(), NOW).warnings), 1)


class RewritingIdentities(Identities):
    """Loads pairs whose files somebody writes at that very moment."""

    def __init__(self, write: Callable[[], object]) -> None:
        super().__init__()
        self.write = write

    def load(self, pair: CertificatePair, **how: Any) -> Identity:
        identity = super().load(pair, **how)
        self.write()
        return identity


class FilesCase(SynchronousTestCase):
    """A pair for ``a.test`` that can be written anew."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.identities = Identities()
        self.pair = self.write()

    def write(self) -> CertificatePair:
        return write_pair(self.folder, *self_signed(["a.test"], now=NOW))

    def load(self, *listeners: Listener, last_good: Served | None = None) -> Certificates:
        whole = configuration(*(listeners or (listener(pairs=(self.pair,)),)))
        return load_certificates(whole, self.identities, NOW, last_good)


class LastGoodTests(FilesCase):
    def test_kept(self) -> None:
        """What cannot be used any more goes on being served, and is a failure by its file."""
        former = self.load()
        Path(self.pair.key_path).write_text("no key")
        present = self.load(last_good=former.served)
        self.assertEqual(present.served, former.served)
        hello = ClientHello("a.test")
        identity = former.selections[ADDRESS, 443](hello)
        self.assertIs(present.selections[ADDRESS, 443](hello), identity)
        (failure,) = present.failures
        self.assertEqual(failure.path, self.pair.key_path)
        self.assertEqual(former.failures, ())

    def test_kept_however_often(self) -> None:
        """The last good content lasts over any number of failures, without being loaded anew."""
        present = former = self.load()
        Path(self.pair.key_path).unlink()
        for _ in range(3):
            present = self.load(last_good=present.served)
        self.assertEqual(present.served, former.served)

    def test_none(self) -> None:
        """A pair without a last good content is an error, whatever there is of others."""
        former = self.load()
        missing = CertificatePair("/nowhere/a.pem", "/nowhere/a.key")
        one = listener(pairs=(self.pair, missing))
        with self.assertRaises(ConfigErrors) as caught:
            self.load(one, last_good=former.served)
        self.assertEqual(len(caught.exception.errors), 1)

    def test_without_tickets(self) -> None:
        """What is served with tickets is no substitute where there are to be none."""
        former = self.load()
        Path(self.pair.key_path).unlink()
        one = listener(pairs=(self.pair,))
        one = evolve(one, tls=evolve(one.tls, session_tickets=False))
        with self.assertRaises(ConfigErrors):
            self.load(one, last_good=former.served)


class RenewedTests(FilesCase):
    def test_content(self) -> None:
        """A pair is renewed when its files hold something else, not when they are written."""
        first = self.load()
        os.utime(self.pair.cert_path, (1, 1))
        same = self.load()
        self.assertEqual(same.renewed(first), [])
        self.write()
        second = self.load()
        self.assertEqual(second.renewed(first), list(second.served.values()))

    def test_ticket_keys(self) -> None:
        """New ticket keys for the same files are no renewal."""
        first = self.load()
        whole = configuration(listener(pairs=(self.pair,)))
        second = load_certificates(whole, self.identities, NOW + TICKET_KEY_SECS)
        self.assertNotEqual(second.served, first.served)
        self.assertEqual(second.renewed(first), [])

    def test_another_pair(self) -> None:
        """A pair that was not served before is new and not renewed."""
        other = write_pair(self.folder / "b", *self_signed(["b.test"], now=NOW))
        both = self.load(listener(pairs=(self.pair, other)))
        self.assertEqual(both.renewed(self.load()), [])


class VersionTests(FilesCase):
    def test_every_file(self) -> None:
        """Both files of every pair have a version, which tells one content from another."""
        first = self.load().versions
        self.assertEqual(set(first), {self.pair.cert_path, self.pair.key_path})
        self.assertEqual(self.load().versions, first)
        self.write()
        second = self.load().versions
        for path, version in second.items():
            self.assertNotEqual(version, first[path])

    def test_unusable(self) -> None:
        """A pair that cannot be used has versions too, so that it is not read again as it is."""
        former = self.load()
        key = Path(self.pair.key_path)
        key.unlink()
        present = self.load(last_good=former.served)
        self.assertIsNone(present.versions[self.pair.key_path])
        self.assertEqual(
            present.versions[self.pair.cert_path], former.versions[self.pair.cert_path]
        )

    def test_written_while_it_is_read(self) -> None:
        """A version is from before the file was read: what is written meanwhile is another."""
        before = file_version(self.pair.cert_path)
        self.identities = RewritingIdentities(self.write)
        self.assertEqual(self.load().versions[self.pair.cert_path], before)
        self.assertNotEqual(file_version(self.pair.cert_path), before)

    def test_written_between_two_listeners(self) -> None:
        """A pair of two listeners that changes between them differs from its version."""
        before = file_version(self.pair.cert_path)
        self.identities = RewritingIdentities(self.write)
        one, two = [listener(pairs=(self.pair,), https_port=port) for port in (443, 8443)]
        self.assertEqual(self.load(one, two).versions[self.pair.cert_path], before)

    def test_symbolic_link(self) -> None:
        """A link that is pointed to another file is another version."""
        link = self.folder / "live.pem"
        link.symlink_to("fullchain.pem")
        first = file_version(str(link))
        self.assertEqual(first, file_version(self.pair.cert_path))
        link.unlink()
        link.symlink_to("privkey.pem")
        self.assertNotEqual(file_version(str(link)), first)

    def test_written_in_place(self) -> None:
        """A file that is overwritten in its place by as many bytes differs by its date."""
        path = Path(self.pair.cert_path)
        first, status = file_version(str(path)), path.stat()
        path.write_bytes(path.read_bytes()[::-1])
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))
        self.assertNotEqual(file_version(str(path)), first)

    def test_same_size_and_time(self) -> None:
        """A file that is moved into the place of another one differs, whatever its date."""
        path = Path(self.pair.cert_path)
        first, content = file_version(str(path)), path.read_bytes()
        status = path.stat()
        other = self.folder / "other"
        other.write_bytes(content)
        os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
        other.rename(path)
        self.assertNotEqual(file_version(str(path)), first)
