"""The certificates of a configuration: what is served, and what cannot be."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from revproxy.control.certificates import load_certificates
from revproxy.errors import ConfigErrors
from revproxy.model.configuration import CertificatePair
from revproxy.model.tls import Alert, ClientHello, Identity
from revproxy.tls.certificates import Identities
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
        warnings = load_certificates(whole, Identities(), NOW).warnings
        self.assertEqual(
            [name for name in "abcde" if f"{name}.test" in " ".join(warnings)], ["b", "c", "d"]
        )
