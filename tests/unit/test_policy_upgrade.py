"""What a connection may become, and WebSocket's key where the downstream has none."""

from __future__ import annotations

from base64 import b64decode

from twisted.trial.unittest import SynchronousTestCase

from revproxy.model.http import RequestHead
from revproxy.policy.upgrade import Upgrade, upgrade_of
from tests.support.heads import request_head

WEBSOCKET = frozenset((b"websocket",))
BOTH = frozenset((b"websocket", b"chat/2"))


def asking(protocol: bytes, method: bytes = b"GET") -> RequestHead:
    """A request for ``protocol``."""
    head = request_head(method=b"GET")
    head.method, head.protocol = method, protocol
    return head


class ChoiceTests(SynchronousTestCase):
    """Which of the protocols that are asked for is chosen."""

    def chosen(self, protocol: bytes, allowed: frozenset[bytes] = BOTH) -> bytes | None:
        upgrade = upgrade_of(asking(protocol), allowed)
        return None if upgrade is None else upgrade.protocol

    def test_allowed(self) -> None:
        """The one that is asked for, in lower case."""
        for asked in (b"websocket", b"WebSocket", b"\twebsocket ", b",websocket,"):
            self.assertEqual(self.chosen(asked), b"websocket", asked)

    def test_first(self) -> None:
        """Of several the first that is allowed."""
        self.assertEqual(self.chosen(b"h2c, websocket, chat/2"), b"websocket")
        self.assertEqual(self.chosen(b"chat/2,websocket"), b"chat/2")
        self.assertEqual(self.chosen(b"chat/2,websocket", WEBSOCKET), b"websocket")

    def test_none(self) -> None:
        """None where none is allowed, or only something that looks like one."""
        for asked in (b"", b",", b"h2c", b"websocket/13", b"web socket", b"xwebsocket", b"chat"):
            self.assertIsNone(self.chosen(asked), asked)
        self.assertIsNone(self.chosen(b"websocket", frozenset()))

    def test_methods(self) -> None:
        """A WebSocket begins with GET or CONNECT, another protocol with any method."""
        for method in (b"POST", b"HEAD", b"get", b"OPTIONS", b"PUT"):
            self.assertIsNone(upgrade_of(asking(b"websocket", method), BOTH), method)
            found = upgrade_of(asking(b"websocket, chat/2", method), BOTH)
            self.assertEqual(found, Upgrade(b"chat/2"), method)


class KeyTests(SynchronousTestCase):
    """The handshake of RFC 6455, which an extended CONNECT leaves out."""

    def test_made(self) -> None:
        """For an extended CONNECT a key of 16 random bytes is made, each time another."""
        asked = asking(b"websocket", b"CONNECT")
        keys = {upgrade.key for _ in range(20) if (upgrade := upgrade_of(asked, WEBSOCKET))}
        self.assertEqual(len(keys), 20)
        self.assertEqual({len(b64decode(key)) for key in keys}, {16})

    def test_not_made(self) -> None:
        """A GET has its own; protocols other than WebSocket have none."""
        self.assertEqual(upgrade_of(asking(b"websocket"), WEBSOCKET), Upgrade(b"websocket"))
        self.assertEqual(upgrade_of(asking(b"chat/2", b"CONNECT"), BOTH), Upgrade(b"chat/2"))

    def test_answer(self) -> None:
        """The example of RFC 6455 1.3 is right, once and in full; anything else is not."""
        upgrade = Upgrade(b"websocket", b"dGhlIHNhbXBsZSBub25jZQ==")
        right = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        name = b"Sec-WebSocket-Accept"
        self.assertTrue(upgrade.is_answered_by([(b"x", b"y"), (name, right)]))
        self.assertTrue(upgrade.is_answered_by([(name.lower(), right)]))
        for answers in ([], [b""], [right[:-1]], [right.lower()], [right, right], [b"x", right]):
            fields = [(name, answer) for answer in answers]
            self.assertFalse(upgrade.is_answered_by(fields), answers)

    def test_answer_to_the_downstream(self) -> None:
        """Where the downstream has sent the key, it looks at the answer itself."""
        self.assertTrue(Upgrade(b"websocket").is_answered_by([]))
