"""The documents of an authority: what is read, what is refused, and that nothing else happens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from revproxy.tls.acme.resources import (
    MAX_TEXT,
    MOST,
    BadDocument,
    authorization_of,
    directory_of,
    order_of,
    window_of,
)

FUZZ = settings(deadline=None, derandomize=True, max_examples=300)
BASE = "https://ca.test"
DIRECTORY = {
    "newNonce": f"{BASE}/nonce",
    "newAccount": f"{BASE}/account",
    "newOrder": f"{BASE}/order",
    "revokeCert": f"{BASE}/revoke",
    "keyChange": f"{BASE}/change",
}
IDENTIFIER = {"type": "dns", "value": "A.test"}
ORDER = {
    "status": "ready",
    "identifiers": [IDENTIFIER],
    "authorizations": [f"{BASE}/authz/1"],
    "finalize": f"{BASE}/finalize/1",
}
CHALLENGE = {"type": "http-01", "url": f"{BASE}/chall/1", "token": "token", "status": "pending"}
AUTHORIZATION = {"status": "pending", "identifier": IDENTIFIER, "challenges": [CHALLENGE]}
WINDOW = {"start": "2026-01-02T04:00:00Z", "end": "2026-01-03T04:00:00+00:00"}
WRONG = (None, 1, 1.5, True, [], {}, [5], {"a": "b"}, "x" * (MAX_TEXT + 1))


def order(document: Any) -> Any:
    return order_of(f"{BASE}/order/1", document)


def authorization(document: Any) -> Any:
    return authorization_of(f"{BASE}/authz/1", document)


def window(document: Any) -> Any:
    return window_of(document, None)


class DocumentCase(SynchronousTestCase):
    def refused(self, read: Callable[[Any], Any], document: object, words: str = "") -> None:
        with self.assertRaises(BadDocument) as caught:
            read(document)
        self.assertIn(words, str(caught.exception))
        self.assertLess(len(str(caught.exception)), 200)

    def without_each(
        self, read: Callable[[Any], Any], document: dict[str, Any], but: object = ()
    ) -> None:
        """Refused without any of its members, and with any of another kind."""
        for member in document:
            self.refused(read, {key: document[key] for key in document if key != member}, member)
            for wrong in WRONG:
                if (member, wrong) != ("challenges", but):
                    self.refused(read, {**document, member: wrong})


class DirectoryTests(DocumentCase):
    def test_least(self) -> None:
        """A directory with what RFC 8555 demands, and without what later ones add."""
        found = directory_of(DIRECTORY)
        self.assertEqual(found.new_order, f"{BASE}/order")
        self.assertEqual((found.renewal_info, found.profiles, found.terms), ("", frozenset(), ""))
        self.assertFalse(found.eab_required)

    def test_missing(self) -> None:
        """Without one of its URLs it is none, and the sentence names it."""
        self.without_each(directory_of, DIRECTORY)

    def test_meta(self) -> None:
        """Profiles, terms and whether an external account is needed are read of its meta."""
        meta = {
            "termsOfService": f"{BASE}/terms\x1b",
            "website": BASE,
            "externalAccountRequired": True,
            "profiles": {"classic": "about it", "short": None},
        }
        found = directory_of({**DIRECTORY, "meta": meta, "renewalInfo": f"{BASE}/ari"})
        self.assertEqual(found.profiles, {"classic", "short"})
        self.assertEqual(found.terms, f"{BASE}/terms\N{REPLACEMENT CHARACTER}")
        self.assertEqual((found.website, found.renewal_info), (BASE, f"{BASE}/ari"))
        self.assertTrue(found.eab_required)

    def test_wrong_meta(self) -> None:
        """A meta of another kind, or one whose members are, is as if it were not there."""
        for wrong in (1, "x", [], None):
            for meta in (wrong, {"profiles": wrong, "termsOfService": [], "website": {}}):
                self.assertEqual(directory_of({**DIRECTORY, "meta": meta}).profiles, frozenset())
        meta = {"externalAccountRequired": "yes"}
        self.assertFalse(directory_of({**DIRECTORY, "meta": meta}).eab_required)

    def test_many_profiles(self) -> None:
        """Of very many profiles some are known."""
        meta = {"profiles": dict.fromkeys(map(str, range(9999)), "")}
        self.assertEqual(len(directory_of({**DIRECTORY, "meta": meta}).profiles), MOST)


class OrderTests(DocumentCase):
    def test_least(self) -> None:
        """An order, its names in lower case."""
        found = order(ORDER)
        self.assertEqual(found.identifiers, ("a.test",))
        self.assertEqual(found.authorizations, (f"{BASE}/authz/1",))
        self.assertEqual((found.url, found.certificate), (f"{BASE}/order/1", ""))
        self.assertIsNone(found.error)

    def test_missing(self) -> None:
        """Without one of its members, or with one of another kind, it is none."""
        self.without_each(order, ORDER)

    def test_strange_status(self) -> None:
        """A status of tomorrow is passed on."""
        self.assertEqual(order({**ORDER, "status": "postponed"}).status, "postponed")

    def test_error(self) -> None:
        """Its error is kept whole; one of another kind is none (RFC 8555 7.1.3)."""
        error = {"type": "urn:ietf:params:acme:error:caa", "detail": "no", "status": 403}
        found = order({**ORDER, "status": "invalid", "error": error}).error
        self.assertEqual((found.code, found.detail, found.status), ("caa", "no", 403))
        for wrong in (None, "x", 1, []):
            self.assertIsNone(order({**ORDER, "error": wrong}).error)

    def test_lists(self) -> None:
        """Lists have one to many entries of a sensible length."""
        url = f"{BASE}/authz/1"
        self.assertEqual(
            len(order({**ORDER, "authorizations": [url] * MOST}).authorizations), MOST
        )
        for wrong in ([url] * (MOST + 1), [], [1], [None], ["x" * (MAX_TEXT + 1)], [[url]]):
            self.refused(order, {**ORDER, "authorizations": wrong})
        for wrong in ([{}], ["a.test"], [{"type": "dns", "value": 1}], [None]):
            self.refused(order, {**ORDER, "identifiers": wrong})

    def test_certificate(self) -> None:
        """The URL of the certificate is text."""
        self.assertEqual(order({**ORDER, "certificate": f"{BASE}/c"}).certificate, f"{BASE}/c")
        self.refused(order, {**ORDER, "certificate": 1}, "certificate")


class AuthorizationTests(DocumentCase):
    def test_least(self) -> None:
        """An authorization with its challenges."""
        found = authorization(AUTHORIZATION)
        self.assertEqual((found.name, found.status), ("a.test", "pending"))
        (challenge,) = found.challenges
        self.assertEqual(
            (challenge.type, challenge.url, challenge.token, challenge.status, challenge.error),
            ("http-01", f"{BASE}/chall/1", "token", "pending", None),
        )

    def test_missing(self) -> None:
        """Without one of its members, or with one of another kind, it is none."""
        self.without_each(authorization, AUTHORIZATION, but=[])
        for member in ("type", "url", "status"):
            rest = {key: CHALLENGE[key] for key in CHALLENGE if key != member}
            self.refused(authorization, {**AUTHORIZATION, "challenges": [rest]}, member)

    def test_unknown_challenge(self) -> None:
        """A kind of challenge that is not known is passed on, even without a token."""
        strange = {"type": "smoke-signal-01", "url": f"{BASE}/c", "status": "pending"}
        found = authorization({**AUTHORIZATION, "challenges": [strange, CHALLENGE]})
        self.assertEqual([one.type for one in found.challenges], ["smoke-signal-01", "http-01"])
        self.assertEqual(found.challenges[0].token, "")

    def test_no_challenges(self) -> None:
        """One that was given up may have none any more."""
        given_up = {**AUTHORIZATION, "status": "deactivated", "challenges": []}
        self.assertEqual(authorization(given_up).challenges, ())

    def test_error(self) -> None:
        """What made a challenge invalid is kept with it."""
        error = {"type": "urn:ietf:params:acme:error:dns", "detail": "no such name"}
        failed = {**CHALLENGE, "status": "invalid", "error": error}
        found = authorization({**AUTHORIZATION, "challenges": [failed]})
        self.assertEqual(found.challenges[0].error.detail, "no such name")


class WindowTests(DocumentCase):
    def test_moments(self) -> None:
        """A window in UTC or in another zone, and the wait that came with it (RFC 9773 4.2)."""
        found = window_of({"suggestedWindow": WINDOW, "explanationURL": BASE}, 21600.0)
        self.assertEqual((found.start, found.end), (1767326400.0, 1767412800.0))
        self.assertEqual(found.retry_after, 21600.0)
        there = {**WINDOW, "start": "2026-01-02T05:30:00.5+01:30"}
        self.assertEqual(window({"suggestedWindow": there}).start, 1767326400.5)

    def test_wrong(self) -> None:
        """One that ends before it begins, has no zone or is no date is none."""
        for wrong in ("", "tomorrow", "2026-01-02", "2026-01-02T04:00:00", 1767326400, None):
            self.refused(window, {"suggestedWindow": {**WINDOW, "end": wrong}}, "window")
        turned = {"start": WINDOW["end"], "end": WINDOW["start"]}
        self.refused(window, {"suggestedWindow": turned}, "ends before it begins")
        empty = {"start": WINDOW["start"], "end": WINDOW["start"]}
        self.refused(window, {"suggestedWindow": empty})
        for none in (None, [], "x", {}):
            self.refused(window, {"suggestedWindow": none})
        self.refused(window, {})

    def test_ends_of_time(self) -> None:
        """The first and the last moments that can be written are moments, or refused."""
        for moment in ("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"):
            try:
                window({"suggestedWindow": {**WINDOW, "end": moment}})
            except BadDocument:
                pass


TEXT = st.text(max_size=30) | st.sampled_from(
    ["pending", "valid", "2026-01-01T00:00:00Z", "http://ca.test/", "\ud800", "0001-01-01T00Z"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*CHALLENGE, "value", "start", "end", "error"]), inner)
    ),
    max_leaves=10,
)
MEMBERS = [*DIRECTORY, *ORDER, *AUTHORIZATION, "certificate", "error", "meta", "suggestedWindow"]


class FuzzTests(SynchronousTestCase):
    @FUZZ
    @given(st.dictionaries(st.sampled_from(MEMBERS), JSON))
    def test_any_object(self, document: dict[str, Any]) -> None:
        """Any object is read or refused as a bad document, and nothing else happens."""
        for read, good in (
            (directory_of, DIRECTORY),
            (order, ORDER),
            (authorization, AUTHORIZATION),
            (window, {"suggestedWindow": WINDOW}),
        ):
            for each in (document, {**good, **document}):
                try:
                    read(each)
                except BadDocument:
                    pass
