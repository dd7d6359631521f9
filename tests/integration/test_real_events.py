"""Responses that take their time: server-sent events and long polls through a running proxy."""

from __future__ import annotations

import threading
import time
from typing import ClassVar

from tests.support.cases import ProxyCase
from tests.support.recording_upstream import Conversation

EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
UNTIL_CLOSE = EVENTS + b"Connection: close\r\n\r\n"
CHUNKED = EVENTS + b"Transfer-Encoding: chunked\r\n\r\n"


def event(number: int) -> bytes:
    """One event."""
    return b"data: %d\n\n" % number


def in_a_chunk(content: bytes) -> bytes:
    """``content`` in the chunked coding."""
    return b"%x\r\n%b\r\n" % (len(content), content)


class EventTests(ProxyCase):
    """A stream of events is a response like any other, and is never held back.

    Attributes:
        SITE: gives its upstream a second.
    """

    SITE: ClassVar = {"upstream_request_timeout_secs": 1}

    def test_at_once(self) -> None:
        """Each event arrives before the upstream says the next one, in either framing."""

        def check(head: bytes, *, chunked: bool) -> None:
            framed = in_a_chunk if chunked else bytes

            def script(conversation: Conversation) -> None:
                conversation.send(head)
                for number in range(5):
                    conversation.send(framed(event(number)))
                    self.assertTrue(told.wait(5))
                    told.clear()
                conversation.send(b"0\r\n\r\n" if chunked else b"")
                conversation.close()

            told = threading.Event()
            self.upstream.answers[b"/events"] = script
            client = self.client().send(self.request(b"/events"))
            self.assertEqual(client.read_head().value(b"Transfer-Encoding"), b"chunked")
            for number in range(5):
                client.stream.until(in_a_chunk(event(number)))
                told.set()
            client.stream.until(b"0\r\n\r\n")

        check(UNTIL_CLOSE, chunked=False)
        check(CHUNKED, chunked=True)

    def test_head_at_once(self) -> None:
        """The head arrives before the first event."""
        told = threading.Event()

        def script(conversation: Conversation) -> None:
            conversation.send(CHUNKED)
            told.wait(5)
            conversation.send(in_a_chunk(event(1)))
            conversation.close()

        self.upstream.answers[b"/events"] = script
        client = self.client().send(self.request(b"/events"))
        self.assertEqual(client.read_head().value(b"Content-Type"), b"text/event-stream")
        told.set()
        client.stream.until(event(1))

    def test_no_timeout_while_events_come(self) -> None:
        """A stream lasts longer than upstream_request_timeout_secs, if something comes in time."""

        def script(conversation: Conversation) -> None:
            conversation.send(CHUNKED, *[in_a_chunk(b":\n\n")] * 10, gap=0.35)
            conversation.send(b"0\r\n\r\n")

        self.upstream.answers[b"/events"] = script
        started = time.monotonic()
        response = self.get(b"/events")
        self.assertEqual((response.body, response.complete), (b":\n\n" * 10, True))
        self.assertGreater(time.monotonic() - started, 3)

    def test_silence(self) -> None:
        """After as long without an event it is cut, and does not look complete."""

        def script(conversation: Conversation) -> None:
            conversation.send(CHUNKED + in_a_chunk(event(1)))
            conversation.hold()

        self.upstream.answers[b"/events"] = script
        started = time.monotonic()
        response = self.get(b"/events")
        self.assertEqual((response.body, response.complete), (event(1), False))
        self.assert_quick(started, 0.9, 5)

    def test_long_poll(self) -> None:
        """A poll that is answered later than that is 504; the client asks again."""

        def script(conversation: Conversation) -> None:
            conversation.hold()

        self.upstream.answers[b"/poll"] = script
        started = time.monotonic()
        client = self.client()
        response = client.ask(self.request(b"/poll"))
        self.assertEqual((response.status, response.body), (504, b"Gateway Timeout"))
        self.assert_quick(started, 0.9, 5)
        self.assertEqual(client.ask(self.request(b"/next")).status, 200)

    def test_lost_client(self) -> None:
        """When the client has gone, the upstream is told with the next event or the one after."""
        told = threading.Event()

        def script(conversation: Conversation) -> None:
            conversation.send(CHUNKED + in_a_chunk(event(0)))
            for number in range(1, 50):
                if conversation.is_cut(0.1):
                    told.set()
                    break
                conversation.send(in_a_chunk(event(number)))
            conversation.hold()

        self.upstream.answers[b"/events"] = script
        client = self.client().send(self.request(b"/events"))
        client.stream.until(event(0))
        client.close()
        self.assertTrue(told.wait(3))
