"""What a downstream connection says of itself, in every state."""

from __future__ import annotations

from attrs import evolve

from revproxy.net.downstream import Summary
from tests.support.playbook import GET, OK, Peer, PlaybookCase, post

HERE = "192.0.2.1"


class SummaryTests(PlaybookCase):
    def check(self, down: Peer, state: str, *, busy: bool = False, **fields: object) -> None:
        """The connection is in ``state``, and says nothing else but ``fields``."""
        expected = Summary(HERE, True, "", state, 0.0)
        self.assertEqual(down.protocol.summary(), evolve(expected, **fields))
        self.assertEqual(down.protocol.busy, busy)

    def test_states(self) -> None:
        """A connection is idle, in a head, a body or a response, and in the end closing."""
        stage = self.stage()
        down = stage.downstream()
        self.check(down, "idle")
        request = post(4).replace(b" / ", b" /a/b?secret=1 ")
        down.says(request[:-5])
        self.check(down, "head")
        down.says(request[-5:])
        of = {"busy": True, "host": "a.test", "method": "POST", "path": "/a/b"}
        self.check(down, "body", **of)  # type: ignore[arg-type]
        down.says(b"body")
        self.check(down, "response", **of)  # type: ignore[arg-type]
        up = stage.upstream()
        up.says(OK[:-1])
        self.check(down, "response", **of)  # type: ignore[arg-type]
        up.says(OK[-1:])
        self.check(down, "idle")
        down.says(GET.replace(b"a.test", b"x.test").replace(b"HTTP/1.1", b"HTTP/1.1 "))
        self.check(down, "closing")

    def test_discarded_body(self) -> None:
        """While the rest of a body is thrown away nothing is under way any more."""
        stage = self.stage()
        down = stage.downstream()
        down.says(post(4).replace(b"a.test", b"x.test"))
        self.check(down, "body")

    def test_plain_port(self) -> None:
        """It says by which kind of port it came, and when."""
        stage = self.stage(secure=False)
        stage.wait(1)
        down = stage.downstream()
        stage.wait(1)
        summary = down.protocol.summary()
        self.assertEqual((summary.secure, summary.opened), (False, 1.0))

    def test_bytes_of_a_peer(self) -> None:
        """A method that a peer has made up is there as it is."""
        stage = self.stage()
        down = stage.downstream()
        down.says(GET.replace(b"GET / ", b"!#$%&'*+ /%ff?q "))
        summary = down.protocol.summary()
        self.assertEqual((summary.method, summary.path), ("!#$%&'*+", "/%ff"))
