"""The requests of RFC 8555 and RFC 9773: what is asked where, and how long is waited."""

from __future__ import annotations

import json
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from revproxy.tls.acme.client import FRESH_SECS, MOST_ALTERNATES, Client
from revproxy.tls.acme.jws import AccountKey, certificate_id
from revproxy.tls.acme.problem import AcmeProblem, CannotReach
from revproxy.tls.acme.reply import Reply
from revproxy.tls.acme.requests import Requests
from revproxy.tls.acme.validation import csr, new_key
from tests.support.fake_ca import BASE, DIRECTORY, FakeAuthority, problem
from tests.support.jose import octets, payload_of, protected_of, verify, verify_mac
from tests.support.tls_peers import NOW

T = TypeVar("T")
ACCOUNT = f"{BASE}/account/1"
KEY = AccountKey.generate()
PENDING = json.dumps(
    {
        "status": "pending",
        "identifier": {"type": "dns", "value": "a.test"},
        "challenges": [{"type": "http-01", "url": f"{BASE}/c", "status": "pending"}],
    }
).encode()


class ClientCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock: Any = Clock()
        self.authority = FakeAuthority(lambda: NOW)
        channel: Any = self.authority
        self.requests = Requests(channel, self.clock, lambda: NOW, lambda: 0.5)
        self.client = Client(self.requests, DIRECTORY, KEY, ACCOUNT)

    def begin(self, coroutine: Coroutine[Any, Any, T]) -> Deferred[T]:
        return Deferred.fromCoroutine(coroutine)

    def done(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.successResultOf(self.begin(coroutine))

    def refused(self, coroutine: Coroutine[Any, Any, Any], kind: type[T]) -> T:
        failure: Any = self.failureResultOf(self.begin(coroutine), kind)  # type: ignore[arg-type]
        found: T = failure.value
        return found

    def reply(self, path: str, document: Any, **more: Any) -> None:
        """Answer the next request for ``path`` so."""
        self.authority.refusals[path].append(Reply(200, json.dumps(document).encode(), **more))

    def issued(self, *names: str) -> str:
        """The URL of a certificate."""
        order = self.done(self.client.new_order(names))
        for url in order.authorizations:
            found = self.done(self.client.authorization(url))
            self.done(self.client.answer(found.challenges[0]))
        return self.done(self.client.finalize(order, csr(names, new_key()))).certificate


class DirectoryTests(ClientCase):
    def test_once_a_day(self) -> None:
        """The directory is asked for once, and again after a day."""
        for _ in range(3):
            self.done(self.client.directory())
        self.clock.advance(FRESH_SECS - 1)
        self.done(self.client.directory())
        self.assertEqual(self.authority.asked, ["dir"])
        self.clock.advance(1)
        self.done(self.client.directory())
        self.assertEqual(self.authority.asked, ["dir", "dir"])

    def test_nonsense(self) -> None:
        """One that is none makes no sense, and the next attempt asks again."""
        self.reply("dir", {"newNonce": 1})
        error = self.refused(self.client.new_order(["a.test"]), CannotReach)
        self.assertIn(f"{DIRECTORY}: answers with nonsense: newNonce", str(error))
        self.done(self.client.new_order(["a.test"]))


class AccountTests(ClientCase):
    def test_new(self) -> None:
        """A new account is asked for by its key, and is used from then on."""
        self.client.account_url = ""
        self.assertEqual(self.done(self.client.new_account(["mailto:a@b.test"])), ACCOUNT)
        ((_, protected, payload),) = self.authority.heard
        self.assertEqual(protected["jwk"], KEY.jwk)
        self.assertNotIn("kid", protected)
        expected = {"termsOfServiceAgreed": True, "contact": ["mailto:a@b.test"]}
        self.assertEqual(payload, expected)
        self.done(self.client.new_order(["a.test"]))
        self.assertEqual(self.authority.heard[1][1]["kid"], ACCOUNT)

    def test_only_existing(self) -> None:
        """An account may be looked for without one being made (RFC 8555 7.3.1)."""
        self.done(self.client.new_account(terms_agreed=False, only_existing=True))
        (payload,) = self.authority.payloads("account")
        self.assertEqual(payload, {"termsOfServiceAgreed": False, "onlyReturnExisting": True})

    def test_external(self) -> None:
        """One that is bound to an external account says so, for the URL that it is sent to."""
        self.done(self.client.new_account(eab=("kid-1", b"k" * 32)))
        (payload,) = self.authority.payloads("account")
        binding = payload["externalAccountBinding"]
        verify_mac(binding, b"k" * 32)
        self.assertEqual(protected_of(binding)["url"], f"{BASE}/account")
        self.assertEqual(payload_of(binding), KEY.jwk)

    def test_no_url(self) -> None:
        """An account without a URL makes no sense."""
        self.reply("account", {"status": "valid"})
        self.refused(self.client.new_account(), CannotReach)
        self.assertEqual(self.client.account_url, ACCOUNT)

    def test_contact(self) -> None:
        """The contact is changed at the account's URL."""
        self.done(self.client.update_contact(["mailto:c@d.test"]))
        self.assertEqual(self.authority.payloads("account/1"), [{"contact": ["mailto:c@d.test"]}])

    def test_change_key(self) -> None:
        """The old key asks for the new one, which is used from then on (RFC 8555 7.3.5)."""
        new = AccountKey.generate()
        self.done(self.client.change_key(new))
        ((path, protected, inner),) = self.authority.heard
        self.assertEqual((path, protected["kid"]), ("change", ACCOUNT))
        verify(inner, new.jwk)
        self.assertEqual(protected_of(inner)["url"], protected["url"])
        self.assertIs(self.client.key, new)

    def test_change_that_is_refused(self) -> None:
        """Where that is refused the old key stays."""
        self.authority.refuse("change", 409, problem("malformed"))
        self.refused(self.client.change_key(AccountKey.generate()), AcmeProblem)
        self.assertIs(self.client.key, KEY)


class OrderTests(ClientCase):
    def test_identifiers(self) -> None:
        """Names and addresses are ordered as what they are (RFC 8738)."""
        self.done(self.client.new_order(["a.test", "192.0.2.1", "2001:db8::1"]))
        ((_, _, payload),) = self.authority.heard
        kinds = [(one["type"], one["value"]) for one in payload["identifiers"]]
        self.assertEqual(kinds, [("dns", "a.test"), ("ip", "192.0.2.1"), ("ip", "2001:db8::1")])
        self.assertEqual(set(payload), {"identifiers"})

    def test_profile(self) -> None:
        """A profile is ordered where it is offered; else the offered ones are told at once."""
        self.authority.profiles = ("classic", "short")
        self.done(self.client.new_order(["a.test"], "short"))
        self.assertEqual(self.authority.orders[0]["profile"], "short")
        error = self.refused(self.client.new_order(["a.test"], "long"), AcmeProblem)
        self.assertIn("has no profile long, but classic, short", str(error))
        self.assertEqual(error.problem.code, "invalidProfile")
        self.assertEqual(len(self.authority.orders), 1)

    def test_replaces(self) -> None:
        """What is replaced is told where the authority makes suggestions, and only there."""
        self.done(self.client.new_order(["a.test"], replaces="x.y"))
        self.authority.window = (NOW, NOW + 1)
        self.clock.advance(FRESH_SECS)
        self.done(self.client.new_order(["a.test"], replaces="x.y"))
        found = [order.get("replaces") for order in self.authority.orders]
        self.assertEqual(found, [None, "x.y"])

    def test_no_url(self) -> None:
        """An order without a URL makes no sense."""
        self.reply("order", {"status": "pending"})
        self.refused(self.client.new_order(["a.test"]), CannotReach)

    def test_nonsense(self) -> None:
        """Nor does an answer that is no order, or no authorization."""
        for content in ([], {"status": 1}, "x"):
            for path, asking in (
                ("order", self.client.order),
                ("authz", self.client.authorization),
            ):
                self.reply(path, content)
                self.refused(asking(f"{BASE}/{path}/1"), CannotReach)

    def test_other_urls(self) -> None:
        """Authorizations are given up, and certificates revoked, where it is for them."""
        order = self.done(self.client.new_order(["a.test"]))
        (url,) = order.authorizations
        self.done(self.client.deactivate_authorization(url))
        path = url.removeprefix(f"{BASE}/")
        self.assertEqual(self.authority.payloads(path), [{"status": "deactivated"}])
        self.done(self.client.revoke(b"certificate", 4))
        (payload,) = self.authority.payloads("revoke")
        self.assertEqual(octets(payload["certificate"]), b"certificate")
        self.assertEqual(payload["reason"], 4)

    def test_chains(self) -> None:
        """Other chains are fetched too, the usual one first, and not more than a few."""
        self.authority.alternates = 99
        url = self.issued("a.test")
        chains = self.done(self.client.chains(url))
        self.assertEqual(chains[0], self.done(self.client.certificate(url)))
        self.assertEqual(len(chains), 1 + MOST_ALTERNATES)


class WindowTests(ClientCase):
    def certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(
            self.done(self.client.certificate(self.issued("a.test")))
        )

    def test_window(self) -> None:
        """The suggestion is asked for by the certificate's identifier, unsigned."""
        self.authority.window = (NOW, NOW + 60)
        leaf = self.certificate()
        found = self.done(self.client.renewal_window(leaf))
        assert found is not None
        self.assertLess(abs(found.start - NOW) + abs(found.end - NOW - 60), 0.01)
        self.assertEqual(self.authority.asked[-1], f"ari/{certificate_id(leaf)}")

    def test_none(self) -> None:
        """There is none without renewalInfo, for a certificate without issuer, and in nonsense."""
        leaf = self.certificate()
        self.assertIsNone(self.done(self.client.renewal_window(leaf)))
        self.authority.window = (NOW, NOW + 60)
        self.clock.advance(FRESH_SECS)
        asked = len(self.authority.asked)
        self.assertIsNone(self.done(self.client.renewal_window(self.anonymous())))
        self.assertNotIn("ari", " ".join(self.authority.asked[asked:]))
        self.reply("ari", {"suggestedWindow": "soon"})
        self.assertIsNone(self.done(self.client.renewal_window(leaf)))

    def anonymous(self) -> x509.Certificate:
        """A certificate that does not say whose it is."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.fromtimestamp(NOW, UTC)
        name = x509.Name([])
        builder = x509.CertificateBuilder(name, name, key.public_key(), 1).not_valid_before(now)
        return builder.not_valid_after(now + timedelta(days=1)).sign(key, SHA256())


class WaitTests(ClientCase):
    URL = f"{BASE}/authz/1"

    def polls(self) -> int:
        return self.authority.asked.count("authz/1")

    def pending(self, retry_after: float | None = None, count: int = 1) -> None:
        replies = [Reply(200, PENDING, retry_after=retry_after)] * count
        self.authority.refusals["authz"].extend(replies)

    def test_end(self) -> None:
        """What is waited for comes as soon as it is there."""
        self.pending(count=2)
        waiting = self.begin(self.client.wait_authorization(self.URL, 60))
        self.reply("authz", {**json.loads(PENDING), "status": "valid"})
        self.clock.pump([0.25, 0.4])
        self.assertEqual(self.successResultOf(waiting).status, "valid")
        self.assertEqual(self.polls(), 3)

    def test_deadline(self) -> None:
        """After its time it is given up, with a last look, and the looks in between grow rare."""
        self.pending(count=999)
        waiting = self.begin(self.client.wait_authorization(self.URL, 60))
        self.clock.pump([0.05] * 1198)
        self.assertNoResult(waiting)
        self.clock.pump([0.05] * 4)
        self.assertEqual(self.successResultOf(waiting).status, "pending")
        self.assertLess(self.polls(), 25)

    def test_no_time(self) -> None:
        """Without time there is one look."""
        self.pending(count=9)
        waiting = self.client.wait_authorization(self.URL, 0)
        self.assertEqual(self.done(waiting).status, "pending")
        self.assertEqual(self.polls(), 1)

    def test_retry_after(self) -> None:
        """The authority's own wait is kept, within bounds (RFC 8555 7.5.1)."""
        for asked, kept in ((10.0, 10.0), (0.0, 1.0), (86400.0, 60.0)):
            self.setUp()
            self.pending(asked, 99)
            waiting = self.begin(self.client.wait_authorization(self.URL, 300))
            self.clock.advance(kept - 0.1)
            self.assertEqual(self.polls(), 1)
            self.clock.advance(0.2)
            self.assertEqual(self.polls(), 2)
            waiting.cancel()
            self.failureResultOf(waiting, CancelledError)

    def test_order(self) -> None:
        """An order is waited for until its status is among those that are wanted."""
        order = self.done(self.client.new_order(["a.test"]))
        waiting = self.begin(self.client.wait_order(order.url, {"ready"}, 60))
        self.clock.advance(1)
        self.assertNoResult(waiting)
        found = self.done(self.client.authorization(order.authorizations[0]))
        self.done(self.client.answer(found.challenges[0]))
        self.clock.advance(5)
        self.assertEqual(self.successResultOf(waiting).status, "ready")

    def test_cancelled(self) -> None:
        """Cancelled, it leaves no timer."""
        self.pending(count=9)
        waiting = self.begin(self.client.wait_authorization(self.URL, 60))
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])
