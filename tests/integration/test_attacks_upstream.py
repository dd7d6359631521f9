"""Upstream connections that die, are reused wrongly, or speak before their TLS does."""

from __future__ import annotations

from typing import Any

from tests.support.cases import ProxyCase
from tests.support.certificates import authority
from tests.support.killable_upstream import KillableUpstream
from tests.support.proxy import Sites
from tests.support.recording_upstream import OK, Answer, Conversation, RecordingUpstream


class ReuseTests(ProxyCase):
    """The retry rule of RFC 9110 9.2.2, and when a connection is used again."""

    def die_when_reused(self, *, times: int = 1, with_reset: bool = False) -> None:
        """Prepare ``/x`` to close a connection that has served before, ``times`` times."""
        left = [times]

        def script(conversation: Conversation) -> None:
            if left[0]:
                left[0] -= 1
                if with_reset:
                    conversation.reset()
                else:
                    conversation.close()
                return
            conversation.read_body()
            conversation.send(OK)

        self.upstream.answers[b"/x"] = script
        self.assertEqual(self.get(b"/warm").status, 200)

    def seen(self) -> int:
        """How often ``/x`` has reached the upstream."""
        return sum(request.target == b"/x" for request in self.upstream.requests)

    def test_connections_are_reused(self) -> None:
        """Sequential requests of several clients share one upstream connection."""
        self.upstream.drop_connections()
        self.upstream.forget()
        for _ in range(5):
            self.assertEqual(self.get(b"/").status, 200)
        self.assertEqual(self.upstream.connections, 1)

    def test_idempotent_request_is_retried_once(self) -> None:
        """A GET on a reused connection that dies is tried once more, on a new connection."""
        for with_reset in (False, True):
            self.upstream.forget()
            self.die_when_reused(with_reset=with_reset)
            self.assertEqual(self.get(b"/x").status, 200)
            self.assertEqual(self.seen(), 2)

    def test_retried_once_only(self) -> None:
        """When the new connection dies as well, the answer is 502."""
        self.die_when_reused(times=3)
        self.assertEqual(self.get(b"/x").status, 502)
        self.assertEqual(self.seen(), 2)

    def test_new_connection_is_not_retried(self) -> None:
        """A request whose own new connection dies is 502, and sent once."""
        self.upstream.drop_connections()
        self.upstream.answers[b"/x"] = Answer((), then="reset")
        self.assertEqual(self.get(b"/x").status, 502)
        self.assertEqual(self.seen(), 1)

    def test_unsafe_requests_are_not_repeated(self) -> None:
        """A method that is not idempotent is never sent twice."""

        def check(method: bytes) -> None:
            self.upstream.forget()
            self.die_when_reused()
            raw = self.request(b"/x", b"Content-Length: 0", method=method)
            self.assertEqual(self.client().ask(raw, method).status, 502)
            self.assertEqual(self.seen(), 1)

        self.each([b"POST", b"PATCH", b"BREW"], check)

    def test_consumed_body_is_not_repeated(self) -> None:
        """A PUT whose body has begun to flow is not repeated with a part of it."""

        def script(conversation: Conversation) -> None:
            conversation.read_some()
            conversation.close()

        self.assertEqual(self.get(b"/warm").status, 200)
        self.upstream.answers[b"/x"] = script
        raw = self.request(b"/x", b"Content-Length: 500000", method=b"PUT")
        response = self.client().send(raw, *[b"b" * 50_000] * 10).read_response()
        self.assertEqual(response.status, 502)
        self.assertEqual(self.seen(), 1)
        self.assertEqual([r.complete for r in self.upstream.requests[1:] if r.complete], [])

    def test_begun_response_is_not_retried(self) -> None:
        """Once a byte of the response has come, the request is not sent again."""
        self.assertEqual(self.get(b"/warm").status, 200)
        self.upstream.answers[b"/x"] = Answer((b"H",), then="close")
        self.assertEqual(self.get(b"/x").status, 502)
        self.assertEqual(self.seen(), 1)

    def test_close_is_honoured(self) -> None:
        """A connection whose response says close, or HTTP/1.0, is not used again."""

        def check(head: bytes) -> None:
            self.upstream.forget()
            self.upstream.answers[b"/c"] = head + b"Content-Length: 2\r\n\r\nok"
            self.assertEqual(self.get(b"/c").status, 200)
            self.assertEqual(self.get(b"/d").status, 200)
            first, second = self.upstream.requests
            self.assertNotEqual(first.connection, second.connection)

        self.each(
            [
                b"HTTP/1.1 200 OK\r\nConnection: close\r\n",
                b"HTTP/1.1 200 OK\r\nConnection: X-Y, Close\r\n",
                b"HTTP/1.0 200 OK\r\n",
            ],
            check,
        )

    def test_idle_close_between_requests(self) -> None:
        """An upstream that closed its idle connections costs no request."""
        self.assertEqual(self.get(b"/a").status, 200)
        self.upstream.drop_connections()
        raw = self.request(b"/b", b"Content-Length: 2", method=b"POST", body=b"hi")
        self.assertEqual(self.client().ask(raw).status, 200)


class EarlyPlaintextTests(ProxyCase):
    """A TLS upstream that says something before its handshake is refused."""

    SITE = {"upstream_scheme": "https"}

    @classmethod
    def start_upstream(cls) -> RecordingUpstream:
        """It greets with a whole plain response."""
        greeting = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
        return RecordingUpstream(pair=authority().pair("127.0.0.1"), greeting=greeting)

    @classmethod
    def overrides(cls) -> dict[str, Any]:
        """The test authority stands in for the system's roots."""
        return {"environment": {"SSL_CERT_FILE": authority().ca_path}}

    def test_plaintext_before_tls(self) -> None:
        """The client gets 502 and none of those bytes."""
        response = self.get(b"/")
        self.assertEqual((response.status, response.body), (502, b"Bad Gateway"))
        self.assertEqual(self.upstream.requests, [])


class KilledUpstreamTests(ProxyCase):
    """An upstream process killed in the middle of a response."""

    killable: KillableUpstream

    @classmethod
    def sites(cls, upstream: RecordingUpstream) -> Sites:
        """The site's upstream can be killed."""
        cls.killable = KillableUpstream()
        return {cls.HOST: cls.killable.address}

    @classmethod
    def stop_others(cls) -> None:
        """Kill it for good."""
        cls.killable.stop()

    def test_killed_in_a_response(self) -> None:
        """The client sees the cut, the log says so, and the next request works."""
        for path in (b"/length", b"/chunked"):
            printed = len(self.proxy.lines)
            client = self.client().send(self.request(path))
            head = client.read_head()
            self.assertEqual(head.status, 200)
            self.killable.kill()
            rest = client.read_until_close()
            self.assertFalse(rest.endswith(b"0\r\n\r\n"))
            self.assertLess(len(rest), 1_000_000)
            line = self.proxy.wait_for_line("UPSTREAM_ERROR", since=printed)
            self.assertIn(f"host=site.test upstream={self.killable.address} error=", line)
            self.assertEqual(self.get(b"/gone").status, 502)
            self.killable.restart()
            self.assertEqual(self.get(b"/whole").body, b"whole")
