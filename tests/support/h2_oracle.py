"""The h2 package beside our own HTTP/2 layer: one client, two servers that must agree.

What the client of h2 says goes to a server of h2 and to ours, and both must have heard the same.
What ours answers goes back to the client, which must accept it and get every byte.
"""

from __future__ import annotations

from collections.abc import Iterator

import h2.config
import h2.connection
import h2.events
import h2.settings
from hypothesis import strategies as st

from revproxy.model.http import CHUNKED, Field
from revproxy.wire.h2.limits import H2Limits
from tests.support.h2_wire import Server, response

Action = tuple[str, int, int, list[Field]]
Told = list[tuple[object, ...]]

LIMITS = H2Limits(buffered_bytes=100_000)

_names = st.sampled_from([b"accept", b"user-agent", b"x-a", b"cookie", b"authorization", b"~"])
_values = st.sampled_from([b"", b"a", b"b" * 50, b"gzip, br", b"\xc3\xa4 \t x", b"c" * 5000])
FIELDS = st.lists(
    st.tuples(_names, _values).filter(lambda field: field != (b"cookie", b"")), max_size=6
)
"""But no empty crumbs: the package joins them to a value that it then refuses."""

_CLIENT = ("request", "request", "body", "body", "padded", "end", "trailers", "cancel", "ping",
           "settings", "window", "consume", "prioritize")  # fmt: skip
_SERVER = ("respond", "respond", "part", "part", "finish", "server_trailers", "server_reset")

ACTIONS: st.SearchStrategy[list[Action]] = st.lists(
    st.tuples(
        st.sampled_from(_CLIENT + _SERVER),
        st.integers(0, 20),
        st.integers(0, 70_000) | st.integers(0, 300),
        FIELDS,
    ),
    min_size=5,
    max_size=40,
)


class Oracle:
    """The three connections; :meth:`play` raises AssertionError where they disagree."""

    def __init__(self) -> None:
        config = h2.config.H2Configuration(client_side=True, header_encoding=None)
        self.client = h2.connection.H2Connection(config)
        config = h2.config.H2Configuration(client_side=False, header_encoding=None)
        self.reference = h2.connection.H2Connection(config)
        self.ours = Server(LIMITS, opening=b"")
        self.sending: list[int] = []  # streams whose request is not complete
        self.open: list[int] = []  # streams whose response is not complete
        self.begun: set[int] = set()
        self.answered: dict[int, Told] = {}
        self.got: dict[int, Told] = {}
        self.owed: dict[int, int] = {}
        self.expected: Told = []
        self.next = 1
        self.client.initiate_connection()
        self.reference.initiate_connection()
        self.exchange(5)

    def play(self, actions: list[Action]) -> None:
        """Do everything in turn, then answer what is open and compare all."""
        for name, stream, size, fields in actions:
            getattr(self, name)(stream, size, fields)
            self.exchange(size)
            self.ours.now += 1.0
        for stream in list(self.open):
            self.respond(0, 0, [], stream)
            self.finish(0, 0, [], stream)
            self.exchange(1000)
        self.client.increment_flow_control_window(2**30)
        for stream in self.ours.connection.streams:
            self.client.increment_flow_control_window(2**30, stream)
        self.exchange(1000)
        assert self.got == self.answered, (self.got, self.answered)
        assert not self.ours.connection.streams

    def exchange(self, split: int) -> None:
        """Carry what the client says to both servers, and our answer back."""
        for _ in range(10):
            said = self.client.data_to_send()
            at = split % (len(said) + 1)
            self.ours.receive(said[:at], said[at:])
            self.expected += self.heard(self.reference.receive_data(said))
            self.reference.data_to_send()
            told = list(self.told())
            assert told == self.expected, (told, self.expected)
            answer = b"".join(iter(self.ours.connection.take, b""))
            for event in self.client.receive_data(answer):
                self.answer(event)
            if not answer:
                return

    # What was heard, in one form

    def told(self) -> Iterator[tuple[object, ...]]:
        for what in self.ours.told:
            if what[0] == "request":
                assert isinstance(what[1], int)
                head = self.ours.heard.heads[what[1]]
                fields = sorted(head.fields)
                yield (*what, head.method, head.target, head.authority, fields)
            elif what[0] not in ("full", "drained"):
                yield what

    def heard(self, events: list[h2.events.Event]) -> Iterator[tuple[object, ...]]:
        ended_by: set[int] = set()
        for event in events:
            if isinstance(event, h2.events.RequestReceived):
                if event.stream_ended:
                    ended_by.add(event.stream_id)
                yield self.request_of(event)
            elif isinstance(event, h2.events.DataReceived):
                if event.flow_controlled_length:
                    self.reference.acknowledge_received_data(
                        event.flow_controlled_length, event.stream_id
                    )
                if event.data:
                    yield "body", event.stream_id, event.data
            elif isinstance(event, h2.events.TrailersReceived):
                ended_by.add(event.stream_id)
                trailers = [(bytes(name), bytes(value)) for name, value in event.headers]
                fit = [field for field in trailers if field[0] != b"authorization"]
                yield "end", event.stream_id, fit
            elif isinstance(event, h2.events.StreamEnded):
                if event.stream_id not in ended_by:
                    yield "end", event.stream_id, []
            elif isinstance(event, h2.events.StreamReset):
                yield "reset", event.stream_id, int(event.error_code)

    def request_of(self, event: h2.events.RequestReceived) -> tuple[object, ...]:
        fields = [(bytes(name), bytes(value)) for name, value in event.headers]
        pseudo = dict(fields[:4])
        crumbs = [value for name, value in fields if name == b"cookie"]
        rest = [field for field in fields[4:] if field[0] not in (b"cookie", b"~")]
        if crumbs:
            rest.append((b"cookie", b"; ".join(crumbs)))
        return (
            "request", event.stream_id, event.stream_ended is not None, pseudo[b":method"],
            pseudo[b":path"], pseudo[b":authority"], sorted(rest),
        )  # fmt: skip

    def answer(self, event: h2.events.Event) -> None:
        """What the client gets of our answers."""
        if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
            fields = [(bytes(name), bytes(value)) for name, value in event.headers]
            self.got.setdefault(event.stream_id, []).append(("fields", fields))
        elif isinstance(event, h2.events.DataReceived):
            got = self.got[event.stream_id]
            self.owed[event.stream_id] = (
                self.owed.get(event.stream_id, 0) + event.flow_controlled_length
            )
            add_content(got, event.data)
        elif isinstance(event, h2.events.StreamReset):
            self.owed.pop(event.stream_id, None)
            if event.stream_id in self.sending:
                self.sending.remove(event.stream_id)

    # What the client does

    def request(self, stream: int, size: int, fields: list[Field]) -> None:
        end = size % 2 == 0
        head = [
            (b":method", b"GET" if end else b"POST"),
            (b":scheme", b"https"),
            (b":authority", b"a%d.test" % (stream % 3)),
            (b":path", b"/%d" % size),
        ]
        self.client.send_headers(self.next, head + fields, end_stream=end)
        self.open.append(self.next)
        if not end:
            self.sending.append(self.next)
        self.next += 2

    def body(self, stream: int, size: int, fields: list[Field], pad: int | None = None) -> None:
        if self.sending:
            stream = self.sending[stream % len(self.sending)]
            size = min(size, self.client.local_flow_control_window(stream) - 256, 16000)
            if size >= 0:
                self.client.send_data(stream, b"x" * size, pad_length=pad)

    def padded(self, stream: int, size: int, fields: list[Field]) -> None:
        self.body(stream, size, fields, size % 256)

    def end(self, stream: int, size: int, fields: list[Field]) -> None:
        if self.sending:
            self.client.end_stream(self.sending.pop(stream % len(self.sending)))

    def trailers(self, stream: int, size: int, fields: list[Field]) -> None:
        if self.sending:
            stream = self.sending.pop(stream % len(self.sending))
            trailers = [*without_crumbs(fields), (b"x-last", b"1")]
            self.client.send_headers(stream, trailers, end_stream=True)

    def cancel(self, stream: int, size: int, fields: list[Field]) -> None:
        if self.open:
            stream = self.open[stream % len(self.open)]
            self.client.reset_stream(stream, size % 14)
            self.gone(stream)

    def ping(self, stream: int, size: int, fields: list[Field]) -> None:
        self.client.ping(b"%08d" % size)

    def settings(self, stream: int, size: int, fields: list[Field]) -> None:
        codes = h2.settings.SettingCodes
        # The package refuses an empty last frame where its window is below 0.
        windows = [self.client.remote_flow_control_window(number) for number in self.open]
        size = max(size, self.client.local_settings.initial_window_size - min(windows, default=0))
        self.client.update_settings(
            {
                codes.INITIAL_WINDOW_SIZE: size,
                codes.HEADER_TABLE_SIZE: size % 5000,
                codes.MAX_FRAME_SIZE: 16384 + size,
            }
        )

    def window(self, stream: int, size: int, fields: list[Field]) -> None:
        self.client.increment_flow_control_window(size + 1)
        if self.open:
            stream = self.open[stream % len(self.open)]
            self.client.increment_flow_control_window(size + 1, stream)

    def consume(self, stream: int, size: int, fields: list[Field]) -> None:
        for number, owed in list(self.owed.items()):
            self.owed[number] = 0
            if owed:
                self.client.acknowledge_received_data(owed, number)

    def prioritize(self, stream: int, size: int, fields: list[Field]) -> None:
        self.client.prioritize(self.next, weight=size % 256 + 1, exclusive=bool(size % 2))

    # What our side answers

    def respond(
        self, stream: int, size: int, fields: list[Field], number: int | None = None
    ) -> None:
        """A head, and by ``size`` no body, or one of a length that is told or not."""
        if number is None:
            number = self.open[stream % len(self.open)] if self.open else 0
        if not number or number in self.begun:
            return
        self.begun.add(number)
        length = (0, CHUNKED, size)[size % 3]
        fields = without_crumbs(fields)
        names = [(name.title(), value) for name, value in fields]
        said = [(b":status", b"200"), *fields]
        if length >= 0:
            said.append((b"content-length", b"%d" % length))
        self.answered[number] = [("fields", said)]
        handle = self.ours.stream(number)
        self.ours.connection.send_head(handle, response(names, length=length))
        if length >= 0:
            if length:
                add_content(self.answered[number], b"y" * length)
            for start in range(0, length, 30_000):
                self.ours.connection.send_data(handle, b"y" * min(30_000, length - start))
            self.over(number)

    def part(self, stream: int, size: int, fields: list[Field]) -> None:
        number = self.streaming(stream)
        if number and size:
            add_content(self.answered[number], b"z" * size)
            self.ours.connection.send_data(self.ours.stream(number), b"z" * size)

    def finish(
        self, stream: int, size: int, fields: list[Field], number: int | None = None
    ) -> None:
        number = number or self.streaming(stream)
        if number and number in self.open:
            self.ours.connection.finish(self.ours.stream(number), [])
            self.over(number)

    def server_trailers(self, stream: int, size: int, fields: list[Field]) -> None:
        number = self.streaming(stream)
        if number:
            trailers = [*without_crumbs(fields), (b"x-sum", b"1")]
            self.answered[number].append(("fields", trailers))
            self.ours.connection.finish(self.ours.stream(number), trailers)
            self.over(number)

    def server_reset(self, stream: int, size: int, fields: list[Field]) -> None:
        if self.open:
            number = self.open[stream % len(self.open)]
            self.ours.connection.reset(self.ours.stream(number), size % 14)
            self.reference.reset_stream(number, size % 14)
            self.gone(number)

    def streaming(self, stream: int) -> int:
        """A stream whose response is under way, or 0."""
        under_way = [number for number in self.open if number in self.begun]
        return under_way[stream % len(under_way)] if under_way else 0

    def over(self, number: int) -> None:
        """The response of a stream is complete; so is the reference's."""
        self.open.remove(number)
        self.reference.send_headers(number, [(b":status", b"200")], end_stream=True)
        if number in self.sending:
            self.sending.remove(number)
            self.reference.reset_stream(number)

    def gone(self, number: int) -> None:
        """A stream was reset: what its answer has come to is not compared."""
        self.open.remove(number)
        if number in self.sending:
            self.sending.remove(number)
        self.owed.pop(number, None)
        self.answered.pop(number, None)
        self.got.pop(number, None)


def without_crumbs(fields: list[Field]) -> list[Field]:
    """The package joins crumbs wherever they come, to one at the end."""
    return [field for field in fields if field[0] != b"cookie"]


def add_content(told: Told, content: bytes) -> None:
    """Add to the body at the end of ``told``, where one part or many are the same."""
    if told and told[-1][0] == "body":
        before = told.pop()[1]
        assert isinstance(before, bytes)
        content = before + content
    if content:
        told.append(("body", content))
