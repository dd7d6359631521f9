"""The keys of automatic certificates: their values, and which go with which mode."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from revproxy.model.configuration import ExternalAccount, TlsSettings
from tests.support.configurations import changed, minimal, mistakes, read

PLACE = "listeners", 0, "tls"
PREFIX = "listeners[0].tls."


def acme(**keys: Any) -> dict[str, Any]:
    """A document in ACME mode with two names, changed by ``keys``; None takes one out."""
    settings = {
        "mode": "acme",
        "acme_domains": ["a.example.com", "example.com"],
        "acme_contact": "mailto:admin@example.com",
    } | keys
    given = {key: value for key, value in settings.items() if value is not None}
    return changed(*PLACE, to=given)


class ValueTests(SynchronousTestCase):
    """One key at a time."""

    def tls(self, **keys: Any) -> TlsSettings:
        """The settings of a valid document."""
        return read(acme(**keys)).listeners[0].tls

    def refused(self, key: str, value: Any, words: str, place: str = "") -> None:
        """See that a value is one mistake at its key, whose message has ``words``."""
        (found,) = mistakes(acme(**{key: value}))
        self.assertTrue(found.startswith(f"{PREFIX}{key}{place}: "), found)
        self.assertIn(words, found)

    def test_everything(self) -> None:
        """Every key is read; paths are relative to the file."""
        tls = self.tls(
            acme_one_certificate_per_name=True,
            acme_cache_dir="cache",
            acme_directory="https://127.0.0.1:14300/dir",
            acme_ca_file="ca.pem",
            acme_eab={"key_id": "kid-1", "hmac_key_file": "/etc/eab"},
            acme_challenge="http-01",
            acme_profile="shortlived",
            certificates=[{"cert_path": "/c.pem", "key_path": "/k.pem"}],
        )
        self.assertEqual(tls.acme_domains, ("a.example.com", "example.com"))
        self.assertEqual(tls.acme_cache_dir, "/etc/reverse-proxy/cache")
        self.assertEqual(tls.acme_directory, "https://127.0.0.1:14300/dir")
        self.assertEqual(tls.acme_ca_file, "/etc/reverse-proxy/ca.pem")
        self.assertEqual(tls.acme_eab, ExternalAccount("kid-1", "/etc/eab"))
        self.assertEqual((tls.acme_challenge, tls.acme_profile), ("http-01", "shortlived"))
        self.assertEqual(len(tls.pairs), 1)

    def test_names_in_normal_form(self) -> None:
        """Names are lower-cased, and their final dot goes."""
        self.assertEqual(
            self.tls(acme_domains=["A.Example.com."]).acme_domains[0], "a.example.com"
        )

    def test_names(self) -> None:
        """What no authority issues for is refused with what to do instead."""
        self.refused("acme_domains", [], "must not be empty")
        self.refused("acme_domains", ["*.example.com"], "challenge in the DNS", "[0]")
        self.refused("acme_domains", ["a.example.com", "gitea"], "public DNS", "[1]")
        self.refused("acme_domains", ["192.0.2.1"], "IP address", "[0]")
        self.refused("acme_domains", ["a.example.com", "A.example.com"], "named twice", "[1]")

    def test_too_many_names(self) -> None:
        """More than a hundred names fit no certificate, but have one each."""
        names = [f"n{number}.example.com" for number in range(101)]
        self.refused("acme_domains", names, "acme_one_certificate_per_name")
        tls = self.tls(acme_domains=names, acme_one_certificate_per_name=True)
        self.assertEqual(len(tls.acme_domains), 101)

    def test_directory(self) -> None:
        """It is one of two words, or an https URL without a password."""
        for url in ("https://ca.example", "https://[::1]:14300/dir?x=1"):
            self.assertEqual(self.tls(acme_directory=url).acme_directory, url)
        self.refused("acme_directory", "prodution", 'did you mean "production"?')
        for url in (
            "http://ca.example/dir",
            "https://",
            "https://u:p@ca.example/",
            "ca.example/dir",
            "https://ca.example:x/",
            "https://[::1/dir",
            "https://ca.example/a b",
        ):
            self.refused("acme_directory", url, "must be an https URL")

    def test_contact(self) -> None:
        """It is a mail address as a URL."""
        for slip in (
            "admin@example.com",
            "mailto:",
            "mailto:a",
            "mailto:a@b,c@d",
            "mailto:ü@b.de",
        ):
            self.refused("acme_contact", slip, 'must be "mailto:" and an address')

    def test_external_account(self) -> None:
        """Both halves are required."""
        found = mistakes(acme(acme_eab={"key_id": ""}))
        self.assertEqual(
            found,
            [
                f"{PREFIX}acme_eab.key_id: must not be empty",
                f"{PREFIX}acme_eab.hmac_key_file: required, but missing",
            ],
        )


class ModeTests(SynchronousTestCase):
    """What goes with which mode."""

    def test_required(self) -> None:
        """ACME mode needs names and a contact."""
        self.assertEqual(
            mistakes(acme(acme_domains=None, acme_contact=None)),
            [
                f'{PREFIX}acme_domains: required, but missing: mode = "acme" needs it',
                f'{PREFIX}acme_contact: required, but missing: mode = "acme" needs it',
            ],
        )

    def test_pair_in_acme_mode(self) -> None:
        """The one pair of manual mode is refused: it would not be clear which one serves."""
        found = mistakes(acme(cert_path="/c.pem", key_path="/k.pem"))
        self.assertEqual(len(found), 2)
        self.assertTrue(all('only with mode = "manual"' in one for one in found), found)

    def test_acme_keys_in_manual_mode(self) -> None:
        """They would have no effect, and are refused."""
        document = changed(*PLACE, "acme_directory", to="staging", document=minimal())
        self.assertEqual(mistakes(document), [f'{PREFIX}acme_directory: only with mode = "acme"'])

    def test_challenge_on_a_port_that_is_off(self) -> None:
        """HTTP-01 needs the plain port."""
        document = changed(
            "listeners", 0, "http_port", to=0, document=acme(acme_challenge="http-01")
        )
        (found,) = mistakes(document)
        self.assertIn("acme_challenge", found)
        self.assertIn("http_port", found)
