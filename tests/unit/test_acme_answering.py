"""The answers to an authority's validations, for every cache directory in use."""

from __future__ import annotations

import ssl
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from revproxy.model.tls import Alert, ClientHello, Identity
from revproxy.tls.acme.answering import NO_APPLICATION_PROTOCOL, Answering
from revproxy.tls.acme.pending import Challenge, Kind
from tests.support.tls_peers import NOW

PREFIX = b"/.well-known/acme-challenge/"
CERTIFICATE = Identity(
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), frozenset(("a.test",)), frozenset()
)
VALIDATION = ClientHello("a.test", (b"acme-tls/1",))


def challenge(kind: Kind, token: str = "token") -> Challenge:
    return Challenge(kind, "a.test", token, f"{token}.{'k' * 43}")


class AnsweringCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.answering = Answering(lambda: NOW)
        self.answering.pending(self.folder)
        self.hellos: list[ClientHello] = []
        self.choose = self.answering.before(self.present)

    def present(self, hello: ClientHello) -> Identity | Alert:
        """What chooses among certificates."""
        self.hellos.append(hello)
        return CERTIFICATE


class HandshakeTests(AnsweringCase):
    def test_ordinary(self) -> None:
        """Who does not offer acme-tls/1 is served as ever, while something is pending too."""
        self.answering.pending(self.folder).add(challenge("tls-alpn-01"))
        hello = ClientHello("a.test", (b"h2", b"http/1.1"))
        self.assertIs(self.choose(hello), CERTIFICATE)
        self.assertEqual(self.hellos, [hello])

    def test_pending(self) -> None:
        """A validation of a pending name meets an identity that does nothing else, made once."""
        self.answering.pending(self.folder).add(challenge("tls-alpn-01"))
        identity = self.choose(VALIDATION)
        assert isinstance(identity, Identity)
        self.assertTrue(identity.validates)
        self.assertIs(self.choose(VALIDATION), identity)
        self.assertEqual(self.hellos, [])

    def test_next_challenge(self) -> None:
        """Another challenge for the same name is another identity."""
        pending = self.answering.pending(self.folder)
        pending.add(challenge("tls-alpn-01", "one"))
        first = self.choose(VALIDATION)
        pending.add(challenge("tls-alpn-01", "two"))
        self.assertIsNot(self.choose(VALIDATION), first)

    def test_not_pending(self) -> None:
        """Without a challenge the handshake is refused: no certificate is shown to who asks so."""
        pending = self.answering.pending(self.folder)
        for hello in (VALIDATION, ClientHello("", (b"acme-tls/1",))):
            refused = self.choose(hello)
            assert isinstance(refused, Alert)
            self.assertEqual(refused.description, NO_APPLICATION_PROTOCOL)
        pending.add(challenge("tls-alpn-01"))
        self.assertIsInstance(self.choose(VALIDATION), Identity)
        pending.remove(challenge("tls-alpn-01"))
        self.answering.forget(challenge("tls-alpn-01"))
        self.assertIsInstance(self.choose(VALIDATION), Alert)
        self.assertEqual(self.hellos, [])

    def test_offer_among_others(self) -> None:
        """One that offers something else beside it is no validation, and gets no site either."""
        self.assertIsInstance(
            self.choose(ClientHello("a.test", (b"http/1.1", b"acme-tls/1"))), Alert
        )

    def test_nothing_to_answer(self) -> None:
        """Where no certificate is automatic, handshakes cost what they did."""
        self.assertEqual(Answering(lambda: NOW).before(self.present), self.present)


class RequestTests(AnsweringCase):
    def test_pending(self) -> None:
        """A token is found in whatever cache directory it is pending."""
        self.answering.pending(self.folder / "one")
        self.answering.pending(self.folder / "two").add(challenge("http-01"))
        authorization = b"token." + b"k" * 43
        self.assertEqual(self.answering.http(PREFIX + b"token"), authorization)

    def test_not_pending(self) -> None:
        """Other tokens and other paths are not answered."""
        self.answering.pending(self.folder).add(challenge("http-01"))
        for path in (PREFIX + b"other", PREFIX, PREFIX + b"token/", b"/token", b"/", b"*"):
            self.assertIsNone(self.answering.http(path), path)

    def test_directory_that_went(self) -> None:
        """The challenges of a directory that is not in use any more are not answered."""
        self.answering.pending(self.folder).add(challenge("http-01"))
        self.answering.keep({self.folder / "other"})
        self.assertIsNone(self.answering.http(PREFIX + b"token"))
        self.answering.keep({self.folder})  # where another process may have left it
        self.assertIsNotNone(self.answering.http(PREFIX + b"token"))
