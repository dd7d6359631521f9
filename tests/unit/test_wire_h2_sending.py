"""What an HTTP/2 connection sends: heads, bodies within the windows, turns; room given back."""

from __future__ import annotations

import hpack
from twisted.trial.unittest import SynchronousTestCase

from revproxy.model.http import UNTIL_CLOSE, Field
from revproxy.wire.h2 import frames
from revproxy.wire.h2.flow import ReceiveWindow, widened
from revproxy.wire.h2.frames import (
    CANCEL,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    HEADERS,
    INTERNAL_ERROR,
    NO_ERROR,
    PADDED,
    WINDOW_UPDATE,
)
from revproxy.wire.h2.limits import H2Limits
from revproxy.wire.h2.response import _known as known_fields
from tests.support.h2_wire import OPENING, POST, Server, body, frame, headers, response

WHOLE = END_HEADERS | END_STREAM


def fields_of(server: Server, block: bytes) -> list[Field]:
    return [(bytes(name), bytes(value)) for name, value in hpack.Decoder().decode(block, raw=True)]


class SendCase(SynchronousTestCase):
    def asked(self, *streams: int, limits: H2Limits | None = None) -> Server:
        """A server that was asked on ``streams``, and has begun to answer with a body."""
        server = Server(limits)
        for number in streams:
            server.receive(headers(number))
            server.connection.send_head(server.stream(number), response())
        server.connection.take()
        return server

    def sizes(self, server: Server) -> list[tuple[int, int, bool]]:
        """Stream, size and end of each DATA frame that has gathered."""
        return [
            (one.stream, len(one.payload), bool(one.flags & END_STREAM))
            for one in server.sent()
            if one.kind == DATA
        ]


class HeadTests(SendCase):
    """Heads, interim ones and trailers."""

    def test_fields(self) -> None:
        """Names in lower case, the length from the head, everything in order."""
        server = Server()
        server.receive(headers(1))
        fields = [(b"Content-Type", b"a/b"), (b"Set-Cookie", b"a"), (b"Set-Cookie", b"b")]
        server.connection.send_head(server.stream(1), response(fields, status=404, length=3))
        (head,) = server.sent()
        self.assertEqual((head.kind, head.flags, head.stream), (HEADERS, END_HEADERS, 1))
        self.assertEqual(
            fields_of(server, head.payload),
            [
                (b":status", b"404"),
                (b"content-type", b"a/b"),
                (b"set-cookie", b"a"),
                (b"set-cookie", b"b"),
                (b"content-length", b"3"),
            ],
        )

    def test_without_body(self) -> None:
        """No body: the head ends the stream. A length that is told stands for HEAD's."""
        for status, length, told in ((200, 12, True), (304, 12, True), (204, 0, False)):
            server = Server()
            server.receive(headers(1))
            head = response(status=status, length=0)
            head.content_length = length
            server.connection.send_head(server.stream(1), head)
            (sent,) = server.sent()
            self.assertEqual(sent.flags, WHOLE)
            names = dict(fields_of(server, sent.payload))
            self.assertEqual(names.get(b"content-length"), b"12" if told else None)
            self.assertEqual(server.connection.streams, {})

    def test_interim(self) -> None:
        """A 1xx comes before the head and ends nothing."""
        server = Server()
        server.receive(headers(1))
        stream = server.stream(1)
        server.connection.send_interim(stream, response([(b"Link", b"</x>")], status=103))
        server.connection.send_head(stream, response(length=0))
        interim, head = server.sent()
        self.assertEqual(interim.flags, END_HEADERS)
        self.assertEqual(
            fields_of(server, interim.payload), [(b":status", b"103"), (b"link", b"</x>")]
        )
        self.assertEqual(head.flags, WHOLE)

    def test_trailers(self) -> None:
        """Trailers end the stream in place of the body's last frame."""
        server = self.asked(1)
        server.connection.send_data(server.stream(1), b"x")
        server.connection.finish(server.stream(1), [(b"X-Sum", b"1")])
        content, trailers = server.sent()
        self.assertEqual((content.flags, trailers.flags), (0, WHOLE))
        self.assertEqual(fields_of(server, trailers.payload), [(b"x-sum", b"1")])

    def test_large_head(self) -> None:
        """A block of more than one frame continues."""
        server = Server()
        server.receive(headers(1))
        fields = [(b"x", b"y" * 20000), (b"z", b"y" * 20000)]
        server.connection.send_head(server.stream(1), response(fields, length=0))
        sent = server.sent()
        self.assertEqual([one.kind for one in sent], [HEADERS, CONTINUATION, CONTINUATION])
        self.assertEqual([one.flags for one in sent], [END_STREAM, 0, END_HEADERS])
        block = b"".join(one.payload for one in sent)
        self.assertEqual(fields_of(server, block)[1:3], fields)

    def test_no_credential_is_remembered(self) -> None:
        """Fields are remembered as they are written, but not those that carry credentials."""
        server = Server()
        server.receive(headers(1))
        fields = [(b"X-Kept", b"1"), (b"Set-Cookie", b"secret"), (b"Authorization", b"secret")]
        server.connection.send_head(server.stream(1), response(fields))
        self.assertEqual([field in known_fields for field in fields], [True, False, False])

    def test_remembered_fields_are_per_spelling(self) -> None:
        """Fields that were written before are written the same again."""
        for _ in range(2):
            self.test_fields()


class BodyTests(SendCase):
    """Bodies within the windows."""

    def test_length_ends_the_stream(self) -> None:
        """The last byte that the head has announced carries the end; ``finish`` adds nothing."""
        server = Server()
        server.receive(headers(1))
        stream = server.stream(1)
        server.connection.send_head(stream, response(length=5))
        server.connection.send_data(stream, b"abc")
        server.connection.send_data(stream, b"")
        server.connection.send_data(stream, b"de")
        server.connection.finish(stream, [])
        self.assertEqual(self.sizes(server), [(1, 3, False), (1, 2, True)])
        self.assertFalse(stream.open or stream.sending)

    def test_unknown_length(self) -> None:
        """A body of no announced length ends with ``finish``."""
        server = Server()
        server.receive(headers(1))
        server.connection.send_head(server.stream(1), response(length=UNTIL_CLOSE))
        server.connection.send_data(server.stream(1), b"abc")
        server.connection.finish(server.stream(1), [])
        self.assertEqual(self.sizes(server), [(1, 3, False), (1, 0, True)])

    def test_wrong_length(self) -> None:
        """A body that is not as announced is cut, visibly, and the receiver told."""
        for content in (b"abcdef", b"ab"):
            server = Server()
            server.receive(headers(1))
            server.connection.send_head(server.stream(1), response(length=5))
            server.connection.send_data(server.stream(1), content)
            server.connection.finish(server.stream(1), [])
            self.assertEqual(server.resets(), {1: INTERNAL_ERROR})
            self.assertEqual(server.told[1:], [("reset", 1, INTERNAL_ERROR)])

    def test_large_part(self) -> None:
        """A part of more than a frame leaves in frames, the last one with the end."""
        server = Server()
        server.receive(headers(1))
        server.connection.send_head(server.stream(1), response(length=40000))
        server.connection.send_data(server.stream(1), b"x" * 40000)
        self.assertEqual(
            self.sizes(server), [(1, 16384, False), (1, 16384, False), (1, 7232, True)]
        )

    def test_windows(self) -> None:
        """No byte more than the windows allow; what waits leaves as they open."""
        server = self.asked(1)
        content = bytes(range(256)) * 400
        server.connection.send_data(server.stream(1), content)
        server.connection.finish(server.stream(1), [])
        first = b"".join(one.payload for one in server.sent())
        self.assertEqual(len(first), 65535)
        server.receive(frames.window_update(0, 100000))
        self.assertEqual(server.sent(), [])
        server.receive(frames.window_update(1, 10))
        self.assertEqual(self.sizes(server), [(1, 10, False)])
        server.receive(frames.window_update(1, 100000))
        rest = [one.payload for one in server.sent()]
        self.assertEqual(first + content[65535:65545] + b"".join(rest), content)
        self.assertEqual(server.connection.streams, {})

    def test_window_of_the_connection(self) -> None:
        """All streams together send no more than the connection's window, whatever theirs are."""
        server = self.asked(1, 3)
        server.receive(frames.window_update(1, 10**6), frames.window_update(3, 10**6))
        for number in (1, 3, 1, 3):
            server.connection.send_data(server.stream(number), b"x" * 30000)
        self.assertEqual(sum(size for _, size, _ in self.sizes(server)), 65535)
        server.receive(frames.window_update(0, 1000))
        self.assertEqual(sum(size for _, size, _ in self.sizes(server)), 1000)

    def test_more_from_within_drained(self) -> None:
        """What a source adds as soon as it may go on comes after what is still held."""
        server = self.asked(1, limits=H2Limits(buffered_bytes=100000))
        connection, stream = server.connection, server.stream(1)
        server.heard.drained = lambda stream: connection.send_data(stream, b"z")  # type: ignore[method-assign]
        server.receive(frames.window_update(0, 10**6), frames.window_update(1, 10**6))
        connection.held = True
        connection.send_data(stream, b"x" * 100000)
        self.assertTrue(stream.full)
        connection.held = False
        content = b"".join(one.payload for one in server.sent())
        self.assertEqual(content, b"x" * 100000 + b"z")

    def test_initial_window(self) -> None:
        """A change applies to open streams, too, and may make a window negative."""
        server = self.asked(1, 3)
        server.connection.send_data(server.stream(1), b"x" * 60000)
        server.receive(frames.settings({4: 1000}))
        server.connection.send_data(server.stream(1), b"y")
        server.connection.send_data(server.stream(3), b"y" * 2000)
        server.receive(frames.window_update(0, 100000))
        self.assertEqual(sum(size for _, size, _ in self.sizes(server)), 61000)
        server.receive(frames.window_update(1, 59000))
        self.assertEqual(self.sizes(server), [])
        server.receive(frames.window_update(1, 1))
        self.assertEqual(self.sizes(server), [(1, 1, False)])
        server.receive(frames.settings({4: 2000}))
        self.assertEqual(self.sizes(server), [(3, 1000, False)])

    def test_initial_window_overflow(self) -> None:
        """A change that takes a window over 2^31-1 ends the connection (RFC 9113 6.9.2)."""
        server = self.asked(1)
        server.receive(frames.window_update(1, 2**31 - 1 - 65535))
        self.assertEqual(
            server.refusal(frames.settings({4: 65536})),
            (FLOW_CONTROL_ERROR, "flow-control window too large"),
        )

    def test_full_and_drained(self) -> None:
        """The source is paused at the limit and goes on when a quarter of it is left."""
        server = self.asked(1, limits=H2Limits(buffered_bytes=100000))
        stream = server.stream(1)
        server.connection.send_data(stream, b"x" * 65535)
        server.connection.send_data(stream, b"x" * 99999)
        self.assertFalse(stream.full)
        server.connection.send_data(stream, b"x")
        server.connection.send_data(stream, b"x")
        self.assertTrue(stream.full)
        self.assertEqual(server.told[1:], [("full", 1)])
        server.receive(frames.window_update(0, 10**6), frames.window_update(1, 75000))
        server.connection.take()
        self.assertEqual(server.told[2:], [])
        server.receive(frames.window_update(1, 10000))
        server.connection.take()
        self.assertEqual((server.told[2:], stream.full), ([("drained", 1)], False))

    def test_full_by_many(self) -> None:
        """Many streams together hold little more than four may; each goes on in its turn."""
        streams = range(1, 201, 2)
        server = self.asked(*streams, limits=H2Limits(buffered_bytes=10000))
        server.connection.held = True
        for _ in range(100):
            for number in streams:
                if not server.stream(number).full:
                    server.connection.send_data(server.stream(number), b"x" * 1000)
        held = sum(server.stream(number).queued for number in streams)
        self.assertLessEqual(held, 40000 + 100 * 1000)
        self.assertTrue(all(server.stream(number).full for number in streams))
        server.connection.held = False
        server.receive(frames.window_update(0, 10**6))
        server.connection.take()
        self.assertEqual(server.told[-100:], [("drained", number) for number in streams])

    def test_held_bytes_are_forgotten(self) -> None:
        """What was held by streams that are gone fills nobody."""
        server = self.asked(*range(1, 21, 2), limits=H2Limits(buffered_bytes=10000))
        server.connection.held = True
        for number in range(1, 19, 2):
            server.connection.send_data(server.stream(number), b"x" * 9000)
            server.connection.reset(server.stream(number), CANCEL)
        server.connection.send_data(server.stream(19), b"x" * 9000)
        self.assertFalse(server.stream(19).full)

    def test_turns(self) -> None:
        """Streams that have waited take turns, a frame each, a small body does not wait long."""
        server = self.asked(1, 3, 5)
        server.connection.held = True
        for number, size in ((1, 100000), (3, 100000), (5, 10)):
            server.connection.send_data(server.stream(number), b"x" * size)
        self.assertEqual(server.sent(), [])
        server.connection.held = False
        order = [stream for stream, _, _ in self.sizes(server)]
        self.assertEqual(order[:5], [1, 3, 5, 1, 3])
        server.receive(
            *[frames.window_update(number, 10**6) for number in (0, 1, 3)],
        )
        order = [stream for stream, _, _ in self.sizes(server)]
        self.assertEqual(sorted(order[:2]), [1, 3])

    def test_closed_window_of_one(self) -> None:
        """A stream whose window is closed holds up no other."""
        server = self.asked(1, 3)
        server.receive(frames.window_update(0, 10**6))
        server.connection.send_data(server.stream(1), b"x" * 70000)
        server.connection.take()
        server.connection.send_data(server.stream(3), b"x" * 20000)
        self.assertEqual(sum(size for stream, size, _ in self.sizes(server) if stream == 3), 20000)

    def test_so_much_at_once(self) -> None:
        """Held bodies leave a limited number of bytes at a time."""
        server = self.asked(1)
        server.receive(frames.window_update(0, 10**7), frames.window_update(1, 10**7))
        server.connection.held = True
        server.connection.send_data(server.stream(1), b"x" * 10**6)
        server.connection.held = False
        sizes = []
        while part := server.connection.take():
            sizes.append(len(part))
        self.assertGreater(len(sizes), 3)
        self.assertLess(max(sizes), 300_000)

    def test_reset_drops_what_is_held(self) -> None:
        """A stream that is reset sends nothing more; ``finish`` had been said or not."""
        for finished in (False, True):
            for by_client in (False, True):
                server = self.asked(1)
                stream = server.stream(1)
                server.connection.send_data(stream, b"x" * 100000)
                server.connection.take()
                if finished:
                    server.connection.finish(stream, [])
                if by_client:
                    server.receive(frames.rst_stream(1, CANCEL))
                    self.assertEqual(server.told[-1], ("reset", 1, CANCEL))
                else:
                    server.connection.reset(stream, CANCEL)
                server.receive(frames.window_update(0, 10**6))
                self.assertEqual(self.sizes(server), [])
                self.assertEqual((stream.queued, stream.full), (0, False))

    def test_trailers_after_what_is_held(self) -> None:
        """Trailers wait for the body."""
        server = self.asked(1)
        server.connection.send_data(server.stream(1), b"x" * 65536)
        server.connection.finish(server.stream(1), [(b"x", b"y")])
        server.connection.take()
        server.receive(frames.window_update(0, 1), frames.window_update(1, 1))
        content, trailers = server.sent()
        self.assertEqual((content.flags, trailers.kind, trailers.flags), (0, HEADERS, WHOLE))

    def test_answer_before_the_request_ends(self) -> None:
        """The rest of the request is thrown away, and cancelled later (RFC 9113 8.1)."""
        server = Server()
        server.receive(headers(1, POST, end=False))
        server.connection.send_head(server.stream(1), response(length=0))
        server.receive(body(1, b"x" * 1000))
        server.connection.give_up_unfinished()
        self.assertEqual(server.resets(), {})
        self.assertTrue(server.connection.unfinished)
        server.connection.give_up_unfinished()
        self.assertEqual(server.resets(), {1: NO_ERROR})
        self.assertFalse(server.connection.unfinished)
        server.receive(body(1, b"x" * 1000, end=True))
        self.assertEqual(server.told, [("request", 1, False)])

    def test_request_that_ends_after_its_response(self) -> None:
        """It is not cancelled, also when it ends with trailers or is reset."""
        server = Server()
        for stream in (1, 3, 5):
            server.receive(headers(stream, POST, end=False))
            server.connection.send_head(server.stream(stream), response(length=0))
        server.receive(body(1, b"", end=True), headers(3, [(b"x", b"y")], end=True))
        server.receive(frames.rst_stream(5, NO_ERROR))
        self.assertFalse(server.connection.unfinished)
        for _ in range(2):
            server.connection.give_up_unfinished()
        self.assertEqual(server.resets(), {})

    def test_gathered(self) -> None:
        """What waits for ``take`` is told in bytes."""
        server = self.asked(1)
        self.assertEqual(server.connection.gathered, 0)
        server.connection.send_data(server.stream(1), b"abc")
        self.assertEqual(server.connection.gathered, 12)


class RoomTests(SynchronousTestCase):
    """Room for request bodies: who overruns it, and when it is given back."""

    limits = H2Limits(buffered_bytes=80000)

    def posting(self) -> Server:
        server = Server(self.limits)
        server.receive(headers(1, POST, end=False))
        return server

    def updates(self, server: Server) -> list[tuple[int, int]]:
        return [
            (one.stream, frames.read_word(one.payload)[0])
            for one in server.sent()
            if one.kind == WINDOW_UPDATE
        ]

    def test_window_of_a_stream(self) -> None:
        """A stream that sends more than it may is reset with FLOW_CONTROL_ERROR."""
        server = self.posting()
        server.receive(*[body(1, b"x" * 16000)] * 5)
        server.receive(body(1, b"x"))
        self.assertEqual(server.told[-1], ("reset", 1, FLOW_CONTROL_ERROR))
        self.assertEqual(server.resets(), {1: FLOW_CONTROL_ERROR})

    def test_window_of_the_connection(self) -> None:
        """Together they may not send more than the connection's window."""
        server = Server()
        for number in range(1, 11, 2):
            server.receive(headers(number, POST, end=False))
        parts = [body(number, b"x" * 16384) for _ in range(16) for number in (1, 3, 5, 7)]
        server.receive(*parts)
        self.assertEqual(server.refusal(body(9, b"x"))[0], FLOW_CONTROL_ERROR)

    def test_consumed(self) -> None:
        """Room is given back once half of the window has been consumed, not before."""
        server = self.posting()
        server.receive(*[body(1, b"x" * 16000)] * 3)
        stream = server.stream(1)
        server.connection.consumed(stream, 39999)
        self.assertEqual(self.updates(server), [])
        server.connection.consumed(stream, 1)
        self.assertEqual(self.updates(server), [(1, 40000)])
        server.connection.consumed(stream, 10**9)
        server.connection.consumed(stream, 1)
        self.assertEqual(stream.unconsumed, 0)

    def test_nothing_for_a_body_that_has_ended(self) -> None:
        """A stream whose body is complete needs no room."""
        server = self.posting()
        server.receive(*[body(1, b"x" * 16000)] * 3, body(1, b"x", end=True))
        server.connection.consumed(server.stream(1), 48001)
        self.assertEqual(self.updates(server), [])

    def test_connection_gets_back_what_is_lost(self) -> None:
        """Bodies that nobody consumes, because their stream is reset, leave room to others."""
        server = Server(H2Limits(resets=1000))
        given = 0
        for number in range(1, 401, 2):
            server.receive(headers(number, POST, end=False), body(number, b"x" * 16384))
            if number % 4 == 1:
                server.receive(frames.rst_stream(number, CANCEL))
            else:
                server.connection.reset(server.stream(number), CANCEL)
                server.receive(body(number, b"x" * 16384))
            given += sum(size for stream, size in self.updates(server) if not stream)
        self.assertGreater(given, 300 * 16384 - 1048576 // 2)

    def test_padding(self) -> None:
        """Padding takes room and is given back by itself."""
        server = self.posting()
        for _ in range(200):
            server.receive(frame(DATA, PADDED, 1, b"\xff" + b"x" + b"\0" * 255))
            server.connection.consumed(server.stream(1), 1)
        self.assertEqual(len(server.told), 201)
        self.assertEqual(server.stream(1).unconsumed, 0)

    def test_arithmetic(self) -> None:
        """The windows by themselves, at their edges."""
        window = ReceiveWindow(10)
        self.assertTrue(window.take(10))
        self.assertEqual((window.give(4), window.give(1), window.give(4)), (4, 0, 5))
        self.assertEqual(window.left, 9)
        self.assertTrue(window.take(9))
        self.assertFalse(window.take(1))
        self.assertEqual(widened(-5, 2**31 - 1), 2**31 - 6)
        self.assertEqual(widened(5, -10), -5)
        self.assertRaises(OverflowError, widened, 1, 2**31 - 1)

    def test_small_window(self) -> None:
        """No window is smaller than what a client may use before it has our SETTINGS."""
        server = Server(H2Limits(buffered_bytes=4096), opening=b"")
        self.assertEqual(server.sent()[0].payload[6:12], b"\0\4\0\0\xff\xff")
        server.receive(OPENING, headers(1, POST, end=False), *[body(1, b"x" * 13107)] * 5)
        self.assertEqual(len(server.told), 6)
        server.connection.consumed(server.stream(1), 65535)
        self.assertEqual(self.updates(server), [(1, 65535)])
