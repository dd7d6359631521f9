"""Signed requests: nonces, the limit of tries, who signs, and what a reply comes to."""

from __future__ import annotations

import json
from collections.abc import Coroutine
from typing import Any

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from revproxy.tls.acme.jws import AccountKey
from revproxy.tls.acme.problem import AcmeProblem, CannotReach
from revproxy.tls.acme.reply import Reply
from revproxy.tls.acme.requests import (
    JOSE,
    MOST_NONCES,
    MOST_TRIES,
    NONCE_PAUSE_SECS,
    Requests,
    document_of,
)
from tests.support.fake_ca import problem
from tests.support.jose import payload_of, protected_of, verify
from tests.support.tls_peers import NOW

NEW_NONCE = "https://ca.test/nonce"
URL = "https://ca.test/thing"
KID = "https://ca.test/account/1"
KEY = AccountKey.generate()
OK = Reply(200, b"{}")
BAD_NONCE = Reply(400, problem("badNonce"))


class ScriptedChannel:
    """In place of a channel: gives each request a nonce, and replies from a list, then OK.

    Attributes:
        replies: to the next requests that are POSTs or GETs; exceptions are raised.
        asked: method and URL of each request.
        messages: the bodies of all POSTs.
        nonces: whether replies have nonces.
        held: where it is a list, replies wait there until they are fired.
    """

    def __init__(self) -> None:
        self.replies: list[Reply | Exception] = []
        self.asked: list[tuple[str, str]] = []
        self.messages: list[dict[str, str]] = []
        self.kinds: list[str] = []
        self.nonces = True
        self.nonce_reply = Reply(200, b"")
        self.held: list[Deferred[Reply]] | None = None
        self.closed = False
        self._count = 0

    async def close(self) -> None:
        """As of a channel."""
        self.closed = True

    async def request(
        self, method: str, url: str, body: bytes | None = None, kind: str = ""
    ) -> Reply:
        """As of a channel."""
        self.asked.append((method, url))
        if body is not None:
            self.messages.append(json.loads(body))
            self.kinds.append(kind)
        reply: Reply | Exception = self.nonce_reply if method == "HEAD" else OK
        if method != "HEAD" and self.replies:
            reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        self._count += 1
        if self.nonces and not reply.nonce:
            reply = evolve(reply, nonce=f"nonce-{self._count}")
        waiting = succeed(reply)
        if self.held is not None:
            self.held.append(Deferred())
            waiting = self.held[-1].addCallback(lambda _: reply)
        return await waiting

    @property
    def used(self) -> list[str]:
        """The nonces of all POSTs."""
        return [protected_of(message)["nonce"] for message in self.messages]


class RequestsCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock: Any = Clock()
        self.script = ScriptedChannel()
        channel: Any = self.script
        self.requests = Requests(channel, self.clock, lambda: NOW, lambda: 0.5)

    def begin(self, coroutine: Coroutine[Any, Any, Reply]) -> Deferred[Reply]:
        return Deferred.fromCoroutine(coroutine)

    def post(self, payload: Any = None, account: str = KID) -> Deferred[Reply]:
        return self.begin(
            self.requests.post(URL, KEY, payload, account=account, new_nonce=NEW_NONCE)
        )

    def posted(self, payload: Any = None, account: str = KID) -> Reply:
        return self.successResultOf(self.post(payload, account))

    def heads(self) -> int:
        """How many nonces were asked for."""
        return self.script.asked.count(("HEAD", NEW_NONCE))


class SigningTests(RequestsCase):
    def test_account(self) -> None:
        """A request of an account says so, with nonce and URL, and is signed by its key."""
        self.posted({"a": 1})
        (message,) = self.script.messages
        expected = {"alg": "ES256", "kid": KID, "nonce": "nonce-1", "url": URL}
        self.assertEqual(protected_of(message), expected)
        self.assertEqual(payload_of(message), {"a": 1})
        verify(message, KEY.jwk)
        self.assertEqual(self.script.kinds, [JOSE])

    def test_no_account(self) -> None:
        """Without an account the key is told, and no kid beside it (RFC 8555 6.2)."""
        self.posted({}, account="")
        expected = {"alg": "ES256", "jwk": KEY.jwk, "nonce": "nonce-1", "url": URL}
        self.assertEqual(protected_of(self.script.messages[0]), expected)


class NonceTests(RequestsCase):
    def test_first(self) -> None:
        """The first nonce is asked for, where the caller says."""
        self.posted()
        self.assertEqual(self.script.asked, [("HEAD", NEW_NONCE), ("POST", URL)])

    def test_reuse(self) -> None:
        """Later requests take the nonce of an earlier reply, each once."""
        for _ in range(4):
            self.posted()
        self.assertEqual(self.heads(), 1)
        self.assertEqual(self.script.used, ["nonce-1", "nonce-2", "nonce-3", "nonce-4"])

    def test_of_any_reply(self) -> None:
        """A nonce that came with a refusal, or with something for everybody, is as good."""
        self.successResultOf(self.begin(self.requests.get(URL)))
        self.script.replies = [Reply(403, b"")]
        self.failureResultOf(self.post(), AcmeProblem)
        self.posted()
        self.assertEqual((self.heads(), self.script.used), (0, ["nonce-1", "nonce-2"]))

    def test_at_once(self) -> None:
        """Requests that are made at once have a nonce each."""
        self.script.held = []
        going = [self.post() for _ in range(5)]
        for _ in range(2):
            held, self.script.held = self.script.held, []
            for each in held:
                each.callback(None)  # type: ignore[arg-type]
        for each in going:
            self.successResultOf(each)
        self.assertEqual(len(set(self.script.used)), 5)

    def test_bound(self) -> None:
        """However many come, few are kept, the youngest ones."""
        for _ in range(10 * MOST_NONCES):
            self.successResultOf(self.begin(self.requests.get(URL)))
        self.assertEqual(len(self.requests._nonces), MOST_NONCES)
        self.posted()
        self.assertEqual(self.script.used, [f"nonce-{10 * MOST_NONCES}"])

    def test_none(self) -> None:
        """An authority that gives none cannot be asked, and that is told."""
        self.script.nonces = False
        failure = self.failureResultOf(self.post(), CannotReach)
        self.assertIn("gives no nonce (HTTP 200)", str(failure.value))
        self.assertEqual(self.script.messages, [])

    def test_refused(self) -> None:
        """One that is overloaded may say when to come again in place of a nonce."""
        self.script.nonces = False
        self.script.nonce_reply = Reply(503, b"", retry_after=120.0)
        failure = self.failureResultOf(self.post(), AcmeProblem)
        found = failure.value.problem
        self.assertEqual((found.status, found.retry_after), (503, 120.0))


class BadNonceTests(RequestsCase):
    def test_once(self) -> None:
        """A nonce that is not accepted is replaced by the one that came with the refusal."""
        self.script.replies = [BAD_NONCE]
        posting = self.post({"a": 1})
        self.clock.advance(0)
        self.assertEqual(self.successResultOf(posting).status, 200)
        self.assertEqual(self.script.used, ["nonce-1", "nonce-2"])
        self.assertEqual(self.heads(), 1)
        self.assertEqual(*(payload_of(message) for message in self.script.messages))

    def test_others_are_dropped(self) -> None:
        """The nonces that were kept before are as old, and are not tried."""
        for _ in range(5):
            self.successResultOf(self.begin(self.requests.get(URL)))
        self.script.replies = [BAD_NONCE]
        posting = self.post()
        self.clock.advance(0)
        self.successResultOf(posting)
        self.assertEqual(self.script.used, ["nonce-5", "nonce-6"])
        self.assertEqual(len(self.requests._nonces), 1)

    def test_endless(self) -> None:
        """An authority that accepts no nonce is asked eight times, then it is a refusal."""
        self.assertEqual(MOST_TRIES, 8)
        self.script.replies = [BAD_NONCE] * 100
        posting = self.post()
        for _ in range(100):
            self.clock.advance(1)
        failure = self.failureResultOf(posting, AcmeProblem)
        self.assertEqual(failure.value.problem.code, "badNonce")
        self.assertEqual(len(self.script.messages), 8)
        self.assertEqual(len(set(self.script.used)), 8)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_last_try(self) -> None:
        """The eighth may succeed."""
        self.script.replies = [BAD_NONCE] * 7
        posting = self.post()
        for _ in range(100):
            self.clock.advance(1)
        self.assertEqual(self.successResultOf(posting).status, 200)

    def test_pauses(self) -> None:
        """Between the tries is a pause that grows, at first none."""
        self.script.replies = [BAD_NONCE] * 3
        posting = self.post()
        self.clock.advance(0)
        self.assertEqual(len(self.script.messages), 2)
        self.clock.advance(NONCE_PAUSE_SECS - 0.01)
        self.assertEqual(len(self.script.messages), 2)
        self.clock.advance(0.02)
        self.assertEqual(len(self.script.messages), 3)
        self.clock.advance(2 * NONCE_PAUSE_SECS)
        self.successResultOf(posting)

    def test_refusal_without_nonce(self) -> None:
        """Where none came with the refusal another is asked for, and there is an end to it."""
        self.script.nonces = False
        self.script.nonce_reply = Reply(200, b"", nonce="fresh")
        self.script.replies = [BAD_NONCE] * 100
        posting = self.post()
        for _ in range(100):
            self.clock.advance(1)
        self.failureResultOf(posting, AcmeProblem)
        self.assertEqual(len(self.script.messages), 8)
        self.assertLessEqual(self.heads(), 8)

    def test_other_status(self) -> None:
        """Only a 400 of that type is one; a page that mentions it is not."""
        for reply in (Reply(403, problem("badNonce")), Reply(400, b"badNonce")):
            self.script.replies = [reply]
            self.failureResultOf(self.post(), AcmeProblem)
        self.assertEqual(len(self.script.messages), 2)

    def test_cancelled(self) -> None:
        """Cancelled in a pause, nothing is asked any more and no timer is left."""
        self.script.replies = [BAD_NONCE] * 100
        posting = self.post()
        self.clock.advance(0)
        asked = len(self.script.asked)
        posting.cancel()
        self.failureResultOf(posting, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(len(self.script.asked), asked)


class ReplyTests(RequestsCase):
    def test_refused(self) -> None:
        """Whatever is no success is a refusal with its words, status and wait; a redirect too."""
        document = problem("rateLimited", "too many")
        for status in (300, 302, 307, 400, 401, 404, 429, 500, 503):
            self.script.replies = [Reply(status, document, retry_after=9.0)] * 2
            for asking in (self.post(), self.begin(self.requests.get(URL))):
                found = self.failureResultOf(asking, AcmeProblem).value.problem
                self.assertEqual((found.status, found.retry_after), (status, 9.0))
                self.assertEqual((found.code, found.detail), ("rateLimited", "too many"))
        self.assertNotIn(("GET", "https://elsewhere.test/"), self.script.asked)

    def test_html(self) -> None:
        """A page of HTML is a refusal too."""
        self.script.replies = [Reply(503, b"<h1>busy</h1>")]
        found = self.failureResultOf(self.post(), AcmeProblem).value.problem
        self.assertEqual((found.detail, found.status), ("<h1>busy</h1>", 503))

    def test_lost(self) -> None:
        """A request that has no answer is not made again: it may have been heard."""
        self.script.replies = [CannotReach(URL, "the connection was lost")]
        self.failureResultOf(self.post(), CannotReach)
        self.assertEqual(len(self.script.messages), 1)

    def test_clock(self) -> None:
        """How far the authority's clock is ahead is known once it has said the time."""
        self.assertIsNone(self.requests.clock_skew)
        self.script.replies = [Reply(200, b"", date=NOW + 600)]
        self.posted()
        self.assertEqual(self.requests.clock_skew, 600)
        self.posted()  # no Date
        self.assertEqual(self.requests.clock_skew, 600)

    def test_close(self) -> None:
        """Closing closes the channel."""
        self.successResultOf(Deferred.fromCoroutine(self.requests.close()))
        self.assertTrue(self.script.closed)

    def test_document(self) -> None:
        """A document is a JSON object, and nothing else."""
        self.assertEqual(document_of(URL, Reply(200, b'{"a": 1}')), {"a": 1})
        for content in (b"", b"[]", b"null", b"{", b"<html>", b"\xff", b"[" * 500_000):
            with self.assertRaises(CannotReach) as caught:
                document_of(URL, Reply(200, content))
            self.assertIn("no JSON object (HTTP 200)", str(caught.exception))
