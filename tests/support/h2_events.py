"""Events of an HTTP/2 downstream and of its upstreams, to be played in any order.

Owns the events, an upstream that answers correctly as far as it gets, and a client that keeps the
rules whatever it is told to do. Refuses to know what must hold.
"""

from __future__ import annotations

from hypothesis import strategies as st
from twisted.internet.error import ConnectionRefusedError

from revproxy.model.http import Field
from revproxy.wire.h2 import frames
from revproxy.wire.h2.frames import CANCEL, MAX_FRAME
from tests.support.h2_playbook import H2Client
from tests.support.playbook import Peer, Stage

MOST_STREAMS = 6
Event = tuple[str, object, object]

_SIZES = st.sampled_from([0, 1, 10, 900, 1100, 5000])
_which = st.integers(0, 5)
_sizes = st.integers(0, 2000)
REQUESTS = st.one_of(
    st.tuples(st.just("get"), st.sampled_from([b"a.test"] * 4 + [b"x.test"]), st.none()),
    st.tuples(st.just("head"), st.none(), st.none()),
    st.tuples(st.just("post"), st.booleans(), _SIZES),
)
_OF_REQUESTS = st.one_of(
    st.tuples(st.just("say"), _which, _SIZES),
    st.tuples(st.sampled_from(["end", "end", "cancel", "trailers"]), _which, st.none()),
    st.tuples(st.just("give"), _which, st.sampled_from([1, 100, 3000])),
    st.tuples(st.just("give"), _which, st.sampled_from([1, 100, 3000])),
    st.tuples(st.sampled_from(["ping", "window", "reload"]), _sizes, st.none()),
)
_FRAMINGS = st.sampled_from(["length", "chunked", "close", "early"])
_RESPONSES = st.one_of(
    st.tuples(st.just("begin"), _which, _FRAMINGS),
    st.tuples(st.just("data"), _which, _SIZES),
    st.tuples(st.just("data"), _which, _SIZES),
    st.tuples(st.just("finish"), _which, st.booleans()),
    st.tuples(st.sampled_from(["stall", "take"]), _which, st.none()),
)
_TROUBLES = st.one_of(
    st.tuples(st.sampled_from(["refuse", "hold", "close", "reset"]), _which, st.none()),
    st.tuples(st.just("client"), st.sampled_from(["stall", "take", "take", "close"]), st.none()),
    st.tuples(st.just("room"), _which, st.integers(1, 500)),
    st.tuples(st.just("wait"), st.sampled_from([1, 1, 5, 40]), st.none()),
    st.tuples(st.sampled_from(["drain", "vanish"]), _sizes, st.none()),
)
EVENTS = st.one_of(REQUESTS, _OF_REQUESTS, _RESPONSES, _RESPONSES, _RESPONSES, _TROUBLES)


class Speaker:
    """An upstream connection that answers correctly, as far as it gets.

    Attributes:
        token: of the request that it has got last, as its path; each response says it again and
            again, so that nobody gets another's.
        left: what is still to be said of a response of known length.
    """

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.token = b""
        self.bodiless = False
        self.framing = ""
        self.left = 0
        self.position = 0
        self.heard = b""

    def listen(self) -> None:
        """Take what has come; a new request makes the next response another's."""
        self.heard += self.peer.heard()
        head = self.heard.rfind(b" HTTP/1.1\r\n")
        if head >= 0:
            start = self.heard.rfind(b" ", 0, head)
            self.token = self.heard[start + 1 : head]
            self.bodiless = self.heard[:start].endswith(b"HEAD")
            self.heard = b""
            self.framing = ""

    def begin(self, framing: str) -> None:
        """The head of a response, or a 103."""
        self.listen()
        if not self.token or self.framing:
            return
        if framing == "early":
            self.peer.says(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
            return
        self.framing, self.position, self.left = framing, 0, 4000
        line = {"length": b"Content-Length: 4000", "chunked": b"Transfer-Encoding: chunked"}
        self.peer.says(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % line.get(framing, b"Connection: close"))
        if self.bodiless:
            self.framing, self.token = "", b""
            if framing == "close":
                self.peer.closes()

    def data(self, size: int) -> None:
        """A part of it, after its head."""
        if not self.framing:
            self.begin("chunked" if size % 3 else "length")
        self.listen()
        if self.framing == "length":
            size = min(size, self.left)
            self.left -= size
        if self.framing and size:
            content = self.content(size)
            chunked = self.framing == "chunked"
            self.peer.says(b"%x\r\n%b\r\n" % (size, content) if chunked else content)
            if self.framing == "length" and not self.left:
                self.framing, self.token = "", b""

    def content(self, size: int) -> bytes:
        """The next bytes of what belongs to the token."""
        start, self.position = self.position, self.position + size
        return stream_of(self.token, start + size)[start:]

    def finish(self, *, trailers: bool) -> None:
        """The rest of it."""
        self.listen()
        if not self.framing:
            return
        if self.framing == "length":
            self.data(self.left)
        elif self.framing == "chunked":
            self.peer.says(b"0\r\n%b\r\n" % (b"X: y\r\n" if trailers else b""))
        else:
            self.peer.closes()
        self.framing, self.token = "", b""


def stream_of(token: bytes, size: int) -> bytes:
    """What an upstream says to the request with this path."""
    return ((token + b",") * (size // (len(token) + 1) + 1))[:size]


class Play:
    """One connection, its upstreams, and what must hold."""

    def __init__(self, stage: Stage, client: H2Client) -> None:
        self.stage = stage
        self.client = client
        self.speakers: dict[Peer, Speaker] = {}
        self.sending: set[int] = set()
        self.paths: dict[int, bytes] = {}
        self.holding = False

    def play(self, name: str, first: object, second: object) -> None:
        """One event."""
        getattr(self, "on_" + name)(first, second)
        while not self.holding and self.waiting:
            peer = self.stage.upstream()
            self.speakers[peer] = Speaker(peer)
        if not self.client.peer.has_closed:
            self.client.talk()
        else:
            self.client.hear()

    @property
    def may_speak(self) -> bool:
        return not self.client.peer.ended and not self.client.peer.has_closed

    def request(self, *fields: Field, method: bytes, end: bool, host: bytes = b"a.test") -> int:
        """A new stream, if the limit allows for it."""
        client = self.client
        if not self.may_speak or client.h2.open_outbound_streams >= MOST_STREAMS:
            return 0
        stream = client.h2.get_next_available_stream_id()
        self.paths[stream] = b"/%d" % stream
        if not end:
            self.sending.add(stream)
        client.request(self.paths[stream], *fields, method=method, host=host, end=end, talk=False)
        return stream

    def on_get(self, host: bytes, _: None) -> None:
        self.request((b"te", b"trailers"), method=b"GET", end=True, host=host)

    def on_head(self, _: None, __: None) -> None:
        self.request(method=b"HEAD", end=True)

    def on_post(self, expect: bool, size: int) -> None:
        fields = [(b"expect", b"100-continue")] if expect else []
        stream = self.request(*fields, method=b"POST", end=False)
        if stream:
            self.send(stream, size)

    def send(self, stream: int, size: int, *, end: bool = False) -> None:
        client = self.client
        size = min(size, client.room(stream), MAX_FRAME)
        client.h2.send_data(stream, b"x" * size, end_stream=end)

    def open_stream(self, which: int) -> int:
        """One whose request is not complete, and that is not over."""
        replies = self.client.replies
        streams = sorted(
            one for one in self.sending if replies[one].reset is None and not replies[one].ended
        )
        if not self.may_speak or not streams:
            return 0
        return streams[which % len(streams)]

    def on_say(self, which: int, size: int) -> None:
        if stream := self.open_stream(which):
            self.send(stream, size)

    def on_end(self, which: int, _: None) -> None:
        if stream := self.open_stream(which):
            self.send(stream, 0, end=True)
            self.sending.discard(stream)

    def on_trailers(self, which: int, _: None) -> None:
        if stream := self.open_stream(which):
            self.client.h2.send_headers(stream, [(b"x", b"y")], end_stream=True)
            self.sending.discard(stream)

    def on_cancel(self, which: int, _: None) -> None:
        replies = self.client.replies
        streams = [one for one in replies if replies[one].reset is None and not replies[one].ended]
        if self.may_speak and streams:
            stream = streams[which % len(streams)]
            self.client.h2.reset_stream(stream, CANCEL)
            self.sending.discard(stream)
            replies[stream].reset = CANCEL

    def on_give(self, which: int, size: int) -> None:
        replies = self.client.replies
        open_ones = (one for one, it in replies.items() if not it.ended and it.reset is None)
        streams = [0, *open_ones]
        stream = streams[which % len(streams)]
        if self.may_speak:
            self.client.h2.increment_flow_control_window(size, stream or None)

    def on_ping(self, _: int, __: None) -> None:
        if self.may_speak:
            self.client.h2.ping(b"12345678")

    def on_window(self, size: int, _: None) -> None:
        if self.may_speak:
            self.client.h2.update_settings({frames.INITIAL_WINDOW_SIZE: size})

    def on_drain(self, size: int, _: None) -> None:
        if size % 2 and not self.client.peer.ended:
            self.stage.port.router.draining = True
            self.client.front.drain()

    def on_reload(self, _: int, __: None) -> None:
        self.stage.port.router.plan = self.stage.plan()

    @property
    def waiting(self) -> bool:
        """Whether an attempt to connect is under way."""
        self.stage.attempts[:] = [one for one in self.stage.attempts if one.state == "connecting"]
        return bool(self.stage.attempts)

    def on_hold(self, _: int, __: None) -> None:
        self.holding = not self.holding

    def on_refuse(self, _: int, __: None) -> None:
        if self.waiting:
            self.stage.attempts[0].fail(ConnectionRefusedError())

    def upstream(self, which: int) -> Speaker | None:
        speakers = [one for peer, one in self.speakers.items() if not peer.ended]
        speakers = [one for one in speakers if not one.peer.has_closed]
        return speakers[which % len(speakers)] if speakers else None

    def on_begin(self, which: int, framing: str) -> None:
        if one := self.upstream(which):
            one.begin(framing)

    def on_data(self, which: int, size: int) -> None:
        if one := self.upstream(which):
            one.data(size)

    def on_finish(self, which: int, trailers: bool) -> None:
        if one := self.upstream(which):
            one.finish(trailers=trailers)

    def on_close(self, which: int, _: None) -> None:
        if one := self.upstream(which):
            one.framing, one.token = "", b""
            one.peer.closes()

    def on_reset(self, which: int, _: None) -> None:
        if one := self.upstream(which):
            one.peer.resets()

    def on_stall(self, which: int, _: None) -> None:
        if one := self.upstream(which):
            one.peer.stalls()

    def on_take(self, which: int, _: None) -> None:
        if one := self.upstream(which):
            one.peer.takes()

    def on_room(self, which: int, size: int) -> None:
        if self.client.peer.wire.room is not None:
            self.client.peer.takes(size)

    def on_vanish(self, size: int, _: None) -> None:
        if size % 2 and not self.client.peer.ended:
            self.client.peer.resets()

    def on_client(self, what: str, _: None) -> None:
        peer = self.client.peer
        if peer.ended:
            return
        if what == "close":
            self.client.talk()
            peer.closes()
        else:
            {"stall": peer.stalls, "take": peer.takes}[what]()

    def settle(self) -> None:
        """Everybody takes everything, and all is answered: no stream may be left waiting."""
        self.holding = False
        for one in self.speakers.values():
            one.peer.takes()
        self.client.peer.takes()
        self.play("ping", 0, None)
        while stream := self.open_stream(0):
            self.play("end", 0, None)
            self.play("give", 0, 100_000)
        for stream, reply in self.client.replies.items():
            if self.may_speak and not reply.ended and reply.reset is None:
                self.client.h2.increment_flow_control_window(100_000, stream)
        self.play("give", 0, 1_000_000)
        for _ in range(2 * len(self.client.replies)):
            for one in list(self.speakers.values()):
                if not one.peer.ended and not one.peer.has_closed:
                    one.data(1)
                    one.finish(trailers=True)
            self.play("ping", 0, None)

    @property
    def unanswered(self) -> list[int]:
        """Streams of which more must come."""
        replies = self.client.replies
        return [one for one, it in replies.items() if not it.ended and it.reset is None]

    def on_wait(self, seconds: int, _: None) -> None:
        self.stage.wait(seconds)
