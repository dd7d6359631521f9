"""Which certificates a configuration wants."""

from __future__ import annotations

from pathlib import Path

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from revproxy.model.configuration import TlsSettings
from revproxy.tls.acme.wanted import DIRECTORIES, Authority, all_wanted, wanted_by
from tests.support.models import configuration, listener

SETTINGS = TlsSettings(
    mode="acme",
    pairs=(),
    acme_domains=("b.test", "a.test"),
    acme_cache_dir="/cache",
    acme_contact="mailto:a@b.test",
)


class WantedTests(SynchronousTestCase):
    def test_manual(self) -> None:
        """A listener with certificates of its own wants none."""
        self.assertEqual(wanted_by(TlsSettings("manual", ()), plain_port=True), [])

    def test_one_for_all_names(self) -> None:
        """By default one certificate has all names, in alphabetical order."""
        (wanted,) = wanted_by(SETTINGS, plain_port=True)
        self.assertEqual(wanted.names, ("a.test", "b.test"))
        self.assertEqual(
            wanted.authority,
            Authority(Path("/cache"), DIRECTORIES["production"], "mailto:a@b.test"),
        )
        self.assertEqual((wanted.challenge, wanted.both_challenges), ("tls-alpn-01", True))

    def test_one_for_each_name(self) -> None:
        """When that is asked for, each name has its own."""
        settings = evolve(SETTINGS, acme_one_certificate_per_name=True)
        wanted = wanted_by(settings, plain_port=False)
        self.assertEqual([one.names for one in wanted], [("a.test",), ("b.test",)])
        self.assertFalse(wanted[0].both_challenges)

    def test_files(self) -> None:
        """Key and chain are in one file, whose name begins with the certificate's first name."""
        (wanted,) = wanted_by(SETTINGS, plain_port=True)
        self.assertEqual(wanted.pair.cert_path, wanted.pair.key_path)
        path = Path(wanted.pair.cert_path)
        self.assertEqual(path.parent, Path("/cache/certs"))
        self.assertTrue(path.name.startswith("a.test-"))
        self.assertTrue(wanted.previous.cert_path.endswith(f"{wanted.id}.previous.pem"))

    def test_authorities_are_kept_apart(self) -> None:
        """What staging has issued is never in production's place."""
        for directory in ("staging", "https://ca.test/dir"):
            (other,) = wanted_by(evolve(SETTINGS, acme_directory=directory), plain_port=True)
            (wanted,) = wanted_by(SETTINGS, plain_port=True)
            self.assertNotEqual(other.pair, wanted.pair)
            self.assertNotEqual(other.authority, wanted.authority)

    def test_listeners_that_want_the_same(self) -> None:
        """Two listeners with the same names share one certificate."""
        one = evolve(listener(), tls=SETTINGS)
        two = evolve(one, https_port=8443)
        three = evolve(one, https_port=9443, tls=evolve(SETTINGS, acme_domains=("c.test",)))
        wanted = all_wanted(configuration(one, two, three))
        self.assertEqual([one.names for one in wanted], [("a.test", "b.test"), ("c.test",)])
