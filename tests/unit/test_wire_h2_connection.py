"""One HTTP/2 connection, the client's frames played by hand: states, offences, drain."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from revproxy.wire.h2 import frames
from revproxy.wire.h2.connection import FRAMES_AT_ONCE, H2Connection
from revproxy.wire.h2.errors import H2ConnectionError
from revproxy.wire.h2.frames import (
    CANCEL,
    COMPRESSION_ERROR,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HAS_PRIORITY,
    HEADERS,
    NO_ERROR,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PRIORITY_UPDATE,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    STREAM_CLOSED,
    WINDOW_UPDATE,
)
from revproxy.wire.h2.limits import H2Limits
from tests.support.h2_wire import (
    GET,
    OPENING,
    POST,
    Frame,
    Recorder,
    Server,
    body,
    frame,
    headers,
    literal_block,
    response,
    sent_frames,
)


class OpeningTests(SynchronousTestCase):
    """The preface and the first SETTINGS."""

    def test_our_settings(self) -> None:
        """Ours leave before anything has come, and say the limits and the windows."""
        connection = H2Connection(Recorder(), H2Limits(connect_protocol=True))
        settings, update = sent_frames(connection.take())
        self.assertEqual(settings.kind, SETTINGS)
        self.assertEqual(
            dict(frames.read_settings(settings.payload)), {3: 128, 4: 262144, 6: 65536, 8: 1}
        )
        self.assertEqual((update.kind, update.stream), (WINDOW_UPDATE, 0))
        self.assertEqual(frames.read_word(update.payload)[0], 1048576 - 65535)

    def test_byte_by_byte(self) -> None:
        """A whole conversation means the same in pieces of every size."""
        talk = b"".join(
            (
                OPENING,
                headers(1, POST, end=False),
                body(1, b"abc"),
                frames.ping(b"12345678", ack=False),
                body(1, b"def", end=True),
                headers(3),
                frames.rst_stream(3, CANCEL),
            )
        )
        whole = Server(opening=b"")
        whole.receive(talk)
        sent = whole.sent()
        self.assertEqual(len(whole.told), 6)
        for size in (1, 2, 3, 7, 10, 64):
            server = Server(opening=b"")
            server.receive(*[talk[at : at + size] for at in range(0, len(talk), size)])
            self.assertEqual((server.told, server.sent()), (whole.told, sent))

    def test_no_preface(self) -> None:
        """Anything else is refused at the first byte that differs."""
        for start in (b"GET / HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n\r\nXX", b"\x16\x03\x01"):
            self.assertEqual(Server(opening=b"").refusal(start), (1, "no http/2 preface"))

    def test_no_settings(self) -> None:
        """The first frame is SETTINGS and no answer to ours."""
        for first in (headers(1), frames.SETTINGS_ACK, frames.ping(b"12345678", ack=False)):
            code, _ = Server(opening=PREFACE).refusal(first)
            self.assertEqual(code, PROTOCOL_ERROR)

    def test_answers(self) -> None:
        """SETTINGS and PING are answered, answers are not."""
        server = Server()
        server.receive(frames.settings({3: 9, 99: 1}), frames.ping(b"12345678", ack=False))
        self.assertEqual(
            server.sent(), [Frame(SETTINGS, 1, 0, b""), Frame(PING, 1, 0, b"12345678")]
        )
        server.receive(frames.SETTINGS_ACK, frames.ping(b"12345678", ack=True))
        self.assertEqual(server.sent(), [])


class RefusalTests(SynchronousTestCase):
    """What ends the connection, each with its code (RFC 9113 5.4.1)."""

    def test_frames(self) -> None:
        """Frames that are wrong wherever they come."""
        ping = b"12345678"
        for wrong, code in (
            (frames.frame_header(16385, DATA, 0, 1), FRAME_SIZE_ERROR),
            (frames.frame_header(2**24 - 1, 99, 0, 0), FRAME_SIZE_ERROR),
            (frame(SETTINGS, 0, 1), PROTOCOL_ERROR),
            (frame(SETTINGS, 0, 0, b"12345"), FRAME_SIZE_ERROR),
            (frame(SETTINGS, 1, 0, b"123456"), FRAME_SIZE_ERROR),
            (frames.settings({2: 2}), PROTOCOL_ERROR),
            (frames.settings({4: 2**31}), FLOW_CONTROL_ERROR),
            (frames.settings({5: 16383}), PROTOCOL_ERROR),
            (frames.settings({5: 2**24}), PROTOCOL_ERROR),
            (frame(PING, 0, 1, ping), PROTOCOL_ERROR),
            (frame(PING, 0, 0, b"1"), FRAME_SIZE_ERROR),
            (frame(GOAWAY, 0, 1, ping), PROTOCOL_ERROR),
            (frame(GOAWAY, 0, 0, b"1234567"), FRAME_SIZE_ERROR),
            (frame(PRIORITY, 0, 0, b"12345"), PROTOCOL_ERROR),
            (frame(PRIORITY, 0, 1, b"1234"), FRAME_SIZE_ERROR),
            (frame(PUSH_PROMISE, 4, 1, b"1234"), PROTOCOL_ERROR),
            (frame(RST_STREAM, 0, 1, b"123"), FRAME_SIZE_ERROR),
            (frame(WINDOW_UPDATE, 0, 0, b"123"), FRAME_SIZE_ERROR),
            (frames.window_update(0, 0), PROTOCOL_ERROR),
            (frames.window_update(0, 2**31 - 1), FLOW_CONTROL_ERROR),
            (frame(CONTINUATION, 4, 1, b""), PROTOCOL_ERROR),
        ):
            self.assertEqual(Server().refusal(wrong)[0], code, wrong)

    def test_streams(self) -> None:
        """Frames on streams that cannot have them."""
        for wrong in (
            headers(0),
            headers(2),
            body(0, b"x"),
            body(1, b"x"),
            body(2, b"x"),
            frames.rst_stream(0, 0),
            frames.rst_stream(1, 0),
            frames.window_update(1, 1),
        ):
            self.assertEqual(Server().refusal(wrong)[0], PROTOCOL_ERROR, wrong)

    def test_header_frames(self) -> None:
        """Header blocks that are cut, interrupted, padded too much, or no HPACK."""
        block = literal_block(GET)
        begun = frame(HEADERS, END_STREAM, 1, block[:5])
        for wrong, code in (
            (frame(HEADERS, PADDED | END_HEADERS, 1), FRAME_SIZE_ERROR),
            (frame(HEADERS, PADDED | END_HEADERS, 1, b"\x05abcd"), PROTOCOL_ERROR),
            (frame(HEADERS, HAS_PRIORITY | END_HEADERS, 1, b"1234"), FRAME_SIZE_ERROR),
            (frame(HEADERS, END_HEADERS, 1, b"\x80"), COMPRESSION_ERROR),
            (begun + frame(CONTINUATION, END_HEADERS, 3, block[5:]), PROTOCOL_ERROR),
            (begun + frames.ping(b"12345678", ack=False), PROTOCOL_ERROR),
            (begun + frame(99, 0, 0), PROTOCOL_ERROR),
            (begun + headers(3), PROTOCOL_ERROR),
        ):
            self.assertEqual(Server().refusal(wrong)[0], code, wrong)

    def test_padding_of_data(self) -> None:
        """Padding as long as its frame is refused (RFC 9113 6.1)."""
        start = headers(1, POST, end=False)
        for payload, code in ((b"", FRAME_SIZE_ERROR), (b"\x01", PROTOCOL_ERROR)):
            self.assertEqual(Server().refusal(start + frame(DATA, PADDED, 1, payload))[0], code)

    def test_nothing_after(self) -> None:
        """Once the connection has ended, what comes is not looked at."""
        server = Server()
        self.assertEqual(server.refusal(body(1, b"x"))[0], PROTOCOL_ERROR)
        server.receive(headers(1), b"\xff" * 100)
        self.assertEqual((server.told, server.sent()), ([], []))

    def test_goaway_names_the_last_stream(self) -> None:
        """The client learns which of its requests have been seen."""
        server = Server()
        server.receive(headers(1), headers(5))
        with self.assertRaises(H2ConnectionError):
            server.receive(headers(2))
        self.assertEqual(frames.read_word(server.sent()[-1].payload)[0], 5)


class StreamTests(SynchronousTestCase):
    """The states of a stream (RFC 9113 5.1), and offences that cost it alone."""

    def test_request(self) -> None:
        """A head that is padded, has a priority and continues; a body; and trailers."""
        block = literal_block(POST)
        server = Server()
        padded = b"\x03" + b"\0\0\0\0\x10" + block[:10] + b"pad"
        server.receive(
            frame(HEADERS, PADDED | HAS_PRIORITY, 1, padded),
            frame(CONTINUATION, 0, 1, block[10:20]),
            frame(CONTINUATION, END_HEADERS, 1, block[20:]),
            frame(DATA, PADDED, 1, b"\x02abcxx"),
            headers(1, [(b"x", b"y"), (b"content-type", b"no")]),
        )
        self.assertEqual(
            server.told,
            [("request", 1, False), ("body", 1, b"abc"), ("end", 1, [(b"x", b"y")])],
        )
        self.assertFalse(server.stream(1).receiving)

    def test_empty_body(self) -> None:
        """A body that has only an end is no part."""
        server = Server()
        server.receive(headers(1, POST, end=False), body(1, b"", end=True))
        self.assertEqual(server.told, [("request", 1, False), ("end", 1, [])])

    def test_lengths(self) -> None:
        """A body that is not as long as it said is PROTOCOL_ERROR (RFC 9113 8.1.1)."""
        fields = [*POST, (b"content-length", b"3")]
        for parts in (
            [body(1, b"abcd")],
            [body(1, b"ab", end=True)],
            [body(1, b"ab"), body(1, b"cd", end=True)],
            [body(1, b"ab"), headers(1, [(b"x", b"y")])],
        ):
            server = Server()
            server.receive(headers(1, fields, end=False), *parts)
            self.assertEqual(server.told[-1], ("reset", 1, PROTOCOL_ERROR))
            self.assertEqual(server.resets(), {1: PROTOCOL_ERROR})
        server = Server()
        server.receive(headers(1, fields, end=False), body(1, b"abc"), body(1, b"", end=True))
        self.assertEqual(server.told[-1], ("end", 1, []))

    def test_trailers(self) -> None:
        """Trailers end the request, have no pseudo-headers, and a limit."""
        for fields, end in (
            ([(b"x", b"y")], False),
            ([(b":path", b"/")], True),
            ([(b"X", b"y")], True),
            ([(b"connection", b"close")], True),
            ([(b"x", b"y" * 20000)], True),
        ):
            server = Server()
            server.receive(headers(1, POST, end=False), headers(1, fields, end=end))
            self.assertEqual(server.told[-1], ("reset", 1, PROTOCOL_ERROR), fields)

    def test_turns(self) -> None:
        """One call reads so many frames, or fewer with long header blocks, and the rest later."""
        long = [*GET, (b"x", b"y" * 1000)]
        for fields, at_once in ((GET, FRAMES_AT_ONCE), (long, FRAMES_AT_ONCE // 17 + 1)):
            server = Server(H2Limits(max_streams=1000))
            connection = server.connection
            connection.receive(b"".join(headers(2 * at + 1, fields) for at in range(300)), 0.0)
            self.assertEqual((len(server.told), connection.behind), (at_once, True))
            while connection.behind:
                connection.receive(b"", 0.0)
            self.assertEqual(len(server.told), 300)

    def test_after_the_end(self) -> None:
        """What comes after END_STREAM resets the stream while it is open."""
        for more in (body(1, b"x"), headers(1, [(b"x", b"y")])):
            server = Server()
            server.receive(headers(1), more)
            self.assertEqual(server.told[1:], [("reset", 1, STREAM_CLOSED)])
            self.assertEqual(server.resets(), {1: STREAM_CLOSED})

    def test_closed(self) -> None:
        """What comes on a stream that both have ended ends the connection."""
        for more in (body(1, b"x"), headers(1)):
            server = Server()
            server.receive(headers(1))
            server.connection.send_head(server.stream(1), response(length=0))
            self.assertEqual(server.refusal(more)[0], STREAM_CLOSED)

    def test_stale_updates(self) -> None:
        """WINDOW_UPDATE and RST_STREAM may come late (RFC 9113 5.1)."""
        server = Server()
        server.receive(headers(1))
        server.connection.send_head(server.stream(1), response(length=0))
        server.receive(frames.window_update(1, 5), frames.rst_stream(1, CANCEL))
        self.assertEqual(server.told, [("request", 1, True)])

    def test_order_of_streams(self) -> None:
        """Numbers only grow; what has been passed over is closed (RFC 9113 5.1.1)."""
        server = Server()
        server.receive(headers(5))
        self.assertEqual(server.refusal(headers(3))[0], STREAM_CLOSED)

    def test_reset_by_the_client(self) -> None:
        """The receiver is told once, and what it still says of the stream goes nowhere."""
        server = Server()
        server.receive(headers(1), frames.rst_stream(1, CANCEL), frames.rst_stream(1, CANCEL))
        self.assertEqual(server.told, [("request", 1, True), ("reset", 1, CANCEL)])
        stream, connection = server.stream(1), server.connection
        connection.send_interim(stream, response(status=103))
        connection.send_head(stream, response())
        connection.send_data(stream, b"x")
        connection.finish(stream, [])
        connection.reset(stream, CANCEL)
        connection.consumed(stream, 5)
        self.assertEqual((server.sent(), connection.streams), ([], {}))

    def test_reset_by_us(self) -> None:
        """What the client had sent before it knew is ignored, and read for the table."""
        server = Server()
        server.receive(headers(1, POST, end=False))
        server.connection.reset(server.stream(1), CANCEL)
        self.assertEqual(server.resets(), {1: CANCEL})
        server.receive(
            body(1, b"x"),
            frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x40\x01x\x01y"),
            frame(HEADERS, END_HEADERS | END_STREAM, 3, literal_block(GET) + b"\xbe"),
        )
        self.assertEqual(server.told[1:], [("request", 3, True)])
        self.assertEqual(server.heard.heads[3].fields, [(b"x", b"y")])

    def test_resets_are_forgotten(self) -> None:
        """Only so many of our resets are remembered."""
        server = Server()
        for number in range(1, 1201, 2):
            server.receive(headers(number, POST, end=False))
            server.connection.reset(server.stream(number), CANCEL)
        server.receive(body(1199, b"x"))
        self.assertEqual(server.refusal(body(1, b"x"))[0], STREAM_CLOSED)

    def test_too_many_streams(self) -> None:
        """More streams than were offered are refused (RFC 9113 5.1.2)."""
        server = Server(H2Limits(max_streams=2))
        server.receive(headers(1), headers(3), headers(5))
        self.assertEqual(server.resets(), {5: REFUSED_STREAM})
        server.connection.send_head(server.stream(1), response(length=0))
        server.receive(headers(7))
        self.assertEqual([what[1] for what in server.told], [1, 3, 7])

    def test_bad_request(self) -> None:
        """A refused request can be answered; its body is thrown away meanwhile."""
        server = Server()
        server.receive(
            headers(1, [*POST[:3], (b":path", b"/" * 9000)], end=False), body(1, b"x" * 9000)
        )
        self.assertEqual(server.told, [("bad_request", 1, 414)])
        server.connection.send_head(server.stream(1), response(status=414, length=2))
        server.connection.send_data(server.stream(1), b"no")
        sent = server.sent()
        self.assertEqual([one.kind for one in sent], [HEADERS, DATA])
        server.receive(body(1, b"x" * 9000, end=True))
        self.assertEqual(server.connection.streams, {})

    def test_other_frames(self) -> None:
        """PRIORITY, PRIORITY_UPDATE and unknown frames mean nothing, for any stream."""
        server = Server()
        server.receive(
            frame(PRIORITY, 0, 9, b"12345"),
            frame(PRIORITY_UPDATE, 0, 0, b"1234u=1"),
            frame(0xBB, 0xFF, 7, b"x" * 100),
            headers(1),
        )
        self.assertEqual(server.told, [("request", 1, True)])

    def test_so_many_at_once(self) -> None:
        """A read full of tiny frames is taken in parts; nothing is lost of it."""
        server = Server()
        server.receive(headers(1, POST, end=False))
        server.connection.receive(body(1, b"x") * 600 + body(1, b"y", end=True), 0.0)
        turns = 1
        while server.connection.behind:
            server.connection.receive(b"", 0.0)
            turns += 1
        self.assertEqual((turns, len(server.told)), (3, 603))
        server = Server()
        server.connection.receive(headers(1, POST, end=False), 0.0)
        server.connection.receive(body(1, b"x") * 256 + body(1, b"x")[:9], 0.0)
        self.assertFalse(server.connection.behind)

    def test_owner(self) -> None:
        """A stream carries its owner's own object."""
        server = Server()
        server.receive(headers(1))
        server.stream(1).owner = server
        self.assertIs(server.connection.streams[1].owner, server)


class EndTests(SynchronousTestCase):
    """GOAWAY, from either side."""

    def test_from_the_client(self) -> None:
        """Its GOAWAY is told; open streams go on."""
        server = Server()
        server.receive(headers(1), frames.goaway(0, ENHANCE_YOUR_CALM))
        self.assertEqual(server.told[1:], [("goaway", ENHANCE_YOUR_CALM)])
        server.connection.send_head(server.stream(1), response(length=0))
        self.assertEqual(server.sent()[0].kind, HEADERS)

    def test_drain(self) -> None:
        """The end is told, then told again with the last stream, once the client has answered."""
        server = Server()
        server.receive(headers(1))
        server.connection.drain()
        notice, ping = server.sent()
        self.assertEqual(frames.read_word(notice.payload)[0], 2**31 - 1)
        self.assertEqual(frames.read_word(notice.payload, 4)[0], NO_ERROR)
        server.receive(headers(3), frames.ping(ping.payload, ack=True), headers(5, end=False))
        last, refused = server.sent()
        self.assertEqual((last.kind, frames.read_word(last.payload)[0]), (GOAWAY, 3))
        self.assertEqual((refused.kind, refused.stream), (RST_STREAM, 5))
        server.receive(body(5, b"late"))
        for stream in (1, 3):
            self.assertFalse(server.connection.finished)
            server.connection.send_head(server.stream(stream), response(length=0))
        self.assertTrue(server.connection.finished)

    def test_drain_without_answer(self) -> None:
        """Who is not answered says it again, and a third time changes nothing."""
        server = Server()
        for _ in range(3):
            server.connection.drain()
        self.assertEqual([one.kind for one in server.sent()], [GOAWAY, PING, GOAWAY])
        self.assertTrue(server.connection.finished)

    def test_close(self) -> None:
        """GOAWAY at once, and once."""
        server = Server()
        server.connection.close(NO_ERROR)
        server.connection.close(NO_ERROR)
        server.connection.drain()
        self.assertEqual([one.kind for one in server.sent()], [GOAWAY])

    def test_closed_from_within(self) -> None:
        """A receiver that closes hears no more, not even of the same read."""
        server = Server()
        heard = server.heard
        told = heard.request

        def request(*arguments: object, **more: object) -> None:
            told(*arguments, **more)  # type: ignore[arg-type]
            server.connection.close(NO_ERROR)

        heard.request = request  # type: ignore[method-assign]
        server.receive(headers(1) + headers(3))
        self.assertEqual(server.told, [("request", 1, True)])
