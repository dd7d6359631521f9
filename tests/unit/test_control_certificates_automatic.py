"""Certificates that an authority issues: what is served of them, and in their place."""

from __future__ import annotations

import os
from pathlib import Path
from shutil import rmtree

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from revproxy.control.certificates import Certificates, load_certificates
from revproxy.errors import ConfigErrors
from revproxy.model.configuration import ExternalAccount, RateLimit, TlsSettings
from revproxy.model.tls import ClientHello, Identity
from revproxy.tls.acme.files import write_private
from revproxy.tls.acme.record import Record
from revproxy.tls.acme.store import Store
from revproxy.tls.acme.wanted import all_wanted
from revproxy.tls.certificates import Identities
from revproxy.tls.self_signed import self_signed
from tests.support.models import ADDRESS, configuration, listener, site
from tests.support.served import ServedCase
from tests.support.tls_peers import NOW


class AutomaticCase(SynchronousTestCase):
    """A listener whose certificate for two names an authority issues."""

    def setUp(self) -> None:
        self.identities = Identities()
        self.folder = Path(self.mktemp()).absolute()
        settings = TlsSettings(
            mode="acme",
            pairs=(),
            acme_domains=("a.test", "b.test"),
            acme_cache_dir=str(self.folder),
        )
        one = evolve(listener(site("a.test"), site("b.test")), tls=settings)
        self.whole = configuration(one)
        (self.wanted,) = all_wanted(self.whole)

    def load(self, now: float = NOW, former: Certificates | None = None) -> Certificates:
        """Load them, in a process that serves ``former``."""
        presented = None if former is None else former.served
        return load_certificates(self.whole, self.identities, now, presented=presented)

    def issue(self, path: str, *names: str, days: int = 30) -> None:
        """Put a certificate where an authority's is kept."""
        chain_pem, key_pem = self_signed(names or self.wanted.names, now=NOW, days=days)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(key_pem + chain_pem)
        Path(path).chmod(0o600)
        record = Record(self.wanted.names, self.wanted.authority.directory)
        write_private(Path(path).with_suffix(".json"), record.encode())

    def presented(self, certificates: Certificates, name: str = "b.test") -> Identity:
        identity = certificates.selections[ADDRESS, 443](ClientHello(name))
        assert isinstance(identity, Identity)
        return identity


class AutomaticTests(AutomaticCase):
    def test_placeholder(self) -> None:
        """Until one is issued, one that is self-signed has every name, and stays the same."""
        certificates = self.load()
        identity = self.presented(certificates)
        self.assertTrue(identity.placeholder)
        self.assertEqual(identity.names, ["a.test", "b.test"])
        self.assertEqual(certificates.warnings, [])
        self.assertIs(self.presented(self.load()), identity)
        self.assertEqual(certificates.failures, ())

    def test_issued(self) -> None:
        """Once it is issued it is served, and that is news."""
        before = self.load()
        self.issue(self.wanted.pair.cert_path)
        after = self.load()
        identity = self.presented(after)
        self.assertTrue(identity.automatic)
        self.assertFalse(identity.placeholder)
        self.assertEqual(after.renewed(before), [identity])

    def test_expired(self) -> None:
        """An expired one is served rather than none."""
        self.issue(self.wanted.pair.cert_path, days=1)
        identity = self.presented(self.load(NOW + 10 * 86400))
        self.assertFalse(identity.placeholder)

    def test_broken(self) -> None:
        """Where the file is broken the one before it is served, and without it a placeholder."""
        self.issue(self.wanted.pair.cert_path)
        Path(self.wanted.pair.cert_path).write_bytes(b"nonsense")
        certificates = self.load()
        self.assertTrue(self.presented(certificates).placeholder)
        self.assertEqual(len(certificates.failures), 1)
        self.issue(self.wanted.previous.cert_path)
        self.assertFalse(self.presented(self.load()).placeholder)

    def test_name_that_is_added(self) -> None:
        """Names that have a certificate keep it until the one for the larger set is there."""
        self.issue(self.wanted.pair.cert_path)
        before = self.load()
        settings = self.whole.listeners[0].tls
        self.use(evolve(settings, acme_domains=(*settings.acme_domains, "c.test")))
        meanwhile = self.load()
        for name in ("a.test", "b.test"):
            self.assertIs(self.presented(meanwhile, name), self.presented(before, name))
        self.assertTrue(self.presented(meanwhile, "c.test").placeholder)
        self.issue(self.wanted.pair.cert_path)
        after = self.load()
        issued = self.presented(after, "c.test")
        self.assertIs(self.presented(after, "a.test"), issued)
        self.assertFalse(issued.placeholder)

    def test_another_authority(self) -> None:
        """What another authority has issued is served until there is one of the present one; but
        nothing of staging stands in for what people trust.
        """
        settings = self.whole.listeners[0].tls
        for first, second, stands_in in (
            ("staging", "production", False),
            ("production", "staging", True),
            ("https://ca.test/dir", "production", True),
        ):
            self.use(evolve(settings, acme_directory=first))
            self.issue(self.wanted.pair.cert_path)
            self.assertFalse(self.presented(self.load()).placeholder)
            self.use(evolve(settings, acme_directory=second))
            self.assertEqual(not self.presented(self.load()).placeholder, stands_in)
            rmtree(self.folder)

    def use(self, settings: TlsSettings) -> None:
        """Let these be the listener's."""
        self.whole = configuration(evolve(self.whole.listeners[0], tls=settings))
        (self.wanted,) = all_wanted(self.whole)

    def test_old_certificate_of_another_set(self) -> None:
        """One that has expired stands in for nothing."""
        other = Path(self.wanted.pair.cert_path).with_name("other.pem")
        self.issue(str(other), "a.test", days=1)
        identity = self.presented(self.load(NOW + 10 * 86400), "a.test")
        self.assertTrue(identity.placeholder)

    def test_what_orders_need(self) -> None:
        """Files and a directory without which no order can succeed are errors at the start."""
        blocked = self.folder.with_name("blocked")
        blocked.write_text("a file")
        empty = self.folder.with_name("empty")
        empty.write_text("")
        settings = evolve(
            self.whole.listeners[0].tls,
            acme_cache_dir=str(blocked / "cache"),
            acme_ca_file=str(empty),
            acme_eab=ExternalAccount("kid", "/nowhere/eab"),
        )
        whole = configuration(evolve(self.whole.listeners[0], tls=settings))
        with self.assertRaises(ConfigErrors) as caught:
            load_certificates(whole, self.identities, NOW)
        self.assertEqual(
            [str(error) for error in caught.exception.errors],
            [
                f"listeners[0].tls.acme_cache_dir: {blocked} is no directory that may be "
                "written in",
                f"listeners[0].tls.acme_ca_file: {empty} holds no readable PEM certificate",
                "listeners[0].tls.acme_eab: /nowhere/eab cannot be used: No such file or "
                "directory",
            ],
        )

    def test_name_left_out(self) -> None:
        """A site whose name could not be certified is uncovered; the others are served."""
        self.issue(self.wanted.pair.cert_path, "a.test")
        certificates = self.load()
        self.assertFalse(self.presented(certificates, "a.test").placeholder)
        self.assertEqual(certificates.uncovered, ("b.test",))


class PermissionTests(AutomaticCase):
    """Files and folders that others have to do with."""

    def setUp(self) -> None:
        super().setUp()
        self.path = Path(self.wanted.pair.cert_path)
        self.issue(str(self.path))

    def test_copied(self) -> None:
        """What others may read is served; whoever stores it closes it to them."""
        self.path.chmod(0o644)
        self.assertFalse(self.presented(self.load()).placeholder)

    def test_written_by_others(self) -> None:
        """What others may write to, or have put a link to, is not, as it is not for the store."""
        store = Store(self.folder, lambda sentence: None)
        directory = self.wanted.authority.directory
        other = self.path.with_name("other")
        for spoil in (
            lambda: self.path.chmod(0o620),
            lambda: (self.path.rename(other), self.path.symlink_to("other")),
        ):
            spoil()
            certificates = self.load()
            self.assertTrue(self.presented(certificates).placeholder)
            self.assertEqual(len(certificates.failures), 1)
            entry = store.load(self.wanted.names, directory)
            assert entry is not None
            self.assertIsNone(entry.certificate)

    def test_folders(self) -> None:
        """A folder that anybody may write in is a mistake; one of a group's is worth a remark."""
        for folder in (self.folder, self.path.parent):
            folder.chmod(0o770)
            (warning,) = self.load().warnings
            self.assertIn(f"{folder} may be written in by its group", warning)
            folder.chmod(0o777)
            errors = self.assertRaises(ConfigErrors, self.load).errors
            self.assertEqual(
                [str(error) for error in errors],
                [
                    f"listeners[0].tls.acme_cache_dir: {folder} may be written in by every "
                    "user: chmod go-w"
                ],
            )
            folder.chmod(0o700)
        self.assertEqual(self.load().warnings, [])


class LostTests(AutomaticCase):
    """Files that a running proxy finds gone or broken."""

    def setUp(self) -> None:
        super().setUp()
        self.path = Path(self.wanted.pair.cert_path)
        self.issue(str(self.path))
        self.former = self.load()

    def kept(self, why: str) -> None:
        """See that the certificate goes on being served, and that ``why`` is a failure of it."""
        identity = self.presented(self.former)
        self.assertFalse(identity.placeholder)
        present = self.former
        for _ in range(3):
            present = self.load(former=present)
            self.assertIs(self.presented(present), identity)
            self.assertEqual([str(one) for one in present.failures], [f"{self.path}: {why}"])
        self.assertEqual(present.renewed(self.former), [])

    def test_removed(self) -> None:
        """What is removed is served on, and that it cannot be read is a failure."""
        self.path.unlink()
        self.kept("cannot be read: No such file or directory")

    def test_folder_removed(self) -> None:
        """The same where the whole folder is removed."""
        rmtree(self.path.parent)
        self.kept("cannot be read: No such file or directory")

    def test_broken(self) -> None:
        """The same of what is broken; one that was issued before is not gone back to."""
        self.issue(self.wanted.previous.cert_path, days=2)
        self.path.write_bytes(b"oops")
        self.kept("holds no readable PEM certificate")

    def test_unreadable(self) -> None:
        """An error that passes is one of reading: as soon as it can be read it is no failure."""

        def failing(*_: object) -> None:
            raise OSError(24, "Too many open files")

        patched = self.patch(os, "open", failing)
        self.kept("cannot be read: Too many open files")
        patched.restore()
        self.assertEqual(self.load(former=self.former).failures, ())

    def test_at_the_start(self) -> None:
        """A process that has never served it has the one before it, or a placeholder."""
        self.path.unlink()
        self.assertTrue(self.presented(self.load()).placeholder)

    def test_never_issued(self) -> None:
        """Nothing is wrong while a placeholder stands in for what was never issued."""
        self.path.unlink()
        present = self.load()
        self.assertEqual(self.load(former=present).failures, ())

    def test_back_again(self) -> None:
        """What comes back is served, and has recovered."""
        self.path.unlink()
        lost = self.load(former=self.former)
        self.issue(str(self.path))
        back = self.load(former=lost)
        identity = self.presented(back)
        self.assertEqual(back.failures, ())
        self.assertIsNot(identity, self.presented(self.former))
        self.assertEqual(back.recovered(lost), [identity])


class GenerationTests(ServedCase):
    """The same in a running proxy."""

    def test_told_once(self) -> None:
        """Whoever renews is told once of a file that cannot be used, and again when it was."""
        self.pair("a.test")
        self.serve(self.configuration("a.test"))
        key = self.folder / "a.test" / "privkey.pem"
        told: list[set[str]] = []
        self.generations.failed = lambda paths: told.append(set(paths))
        content = key.read_bytes()
        for _ in range(2):
            for _ in range(2):
                key.unlink(missing_ok=True)
                self.generations.adopt_certificates(self.generations.reload_certificates())
            key.write_bytes(content)
            self.generations.adopt_certificates(self.generations.reload_certificates())
        self.assertEqual(told, [{str(key)}] * 2)

    def test_reload(self) -> None:
        """An automatic certificate that is gone is served on by the next generation, too."""
        self.pair("a.test")
        tls = TlsSettings(
            mode="acme",
            pairs=(),
            acme_domains=("a.test",),
            acme_cache_dir=str(self.folder / "cache"),
        )
        whole = self.configuration("a.test")
        whole = evolve(whole, listeners=(evolve(whole.listeners[0], tls=tls),))
        (wanted,) = all_wanted(whole)
        path = Path(wanted.pair.cert_path)
        path.parent.mkdir(parents=True)
        chain_pem, key_pem = self_signed(wanted.names, now=NOW)
        path.write_bytes(key_pem + chain_pem)
        self.serve(whole)
        (former,) = self.generations.current.certificates.served.values()
        path.unlink()
        built = self.generations.build(evolve(whole, rate_limit=RateLimit(1, 2)))
        self.assertEqual(list(built.certificates.served.values()), [former])
