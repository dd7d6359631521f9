"""What one client can make the proxy hold over HTTP/2, and for how long."""

from __future__ import annotations

from revproxy.net.gate import FEWEST_STREAMS
from revproxy.net.h2_stream import LEAST_READ_BYTES
from revproxy.wire.h2.frames import CANCEL, REFUSED_STREAM
from tests.support.h2_playbook import H2Case, H2Client


class RequestTests(H2Case):
    def test_of_one_client(self) -> None:
        """A client has so many requests at once, over all its connections; more are refused, and
        may be tried again once one has ended.
        """
        stage, client = self.connect()
        stage.port.connections.configure(4 * FEWEST_STREAMS, 0)
        replies = [client.request() for _ in range(FEWEST_STREAMS - 1)]
        other = H2Client(stage)
        last = other.request()
        self.assertEqual(other.request().reset, REFUSED_STREAM)
        self.assertEqual([one.reset for one in (*replies, last)], [None] * FEWEST_STREAMS)
        client.cancel(1)
        self.assertIsNone(other.request().reset)
        self.assertEqual(other.request().reset, REFUSED_STREAM)
        limits = [fields for _, event, fields in stage.log.records if event == "CONNECTION_LIMIT"]
        self.assertEqual([fields["limit"] for fields in limits], ["h2_streams"])
        client.peer.resets()
        other.peer.resets()
        self.assertEqual(stage.port.gate.streams, 0)

    def test_reads(self) -> None:
        """The more streams there are the less is read at once of each one's upstream."""
        stage, client = self.connect()
        client.request()
        alone = stage.upstream()
        for _ in range(40):
            client.request()
        crowded = [stage.upstream() for _ in range(40)][-1]
        self.assertGreater(alone.connection.read_bytes, 8 * LEAST_READ_BYTES)
        self.assertEqual(crowded.connection.read_bytes, LEAST_READ_BYTES)


class UploadTests(H2Case):
    def test_waits_for_its_upstream(self) -> None:
        """What has not gone on is not given back to the client's windows."""
        stage, client = self.connect()
        client.post()
        for _ in range(40):
            client.say(1, b"x" * 5000)
        self.assertEqual(client.updates.get(1, []), [])
        stage.upstream()
        client.talk()
        self.assertGreater(sum(client.updates[1]), 100_000)

    def test_after_its_answer(self) -> None:
        """The body of a request that has been answered takes nothing from the other streams."""
        _, client = self.connect(window=0)
        for number in range(4):
            reply = client.request(host=b"x.test", method=b"POST", end=False)
            self.assertEqual(reply.status, 404)
            for _ in range(12):
                client.say(2 * number + 1, b"x" * 16384)
        self.assertGreater(sum(client.updates[0]), 40 * 16384)


class StallTests(H2Case):
    def test_room_that_is_of_no_use(self) -> None:
        """Room on a stream is no progress while the connection has none."""
        stage, client = self.connect(window=65535)
        client.gives = False
        content = b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n" + b"x" * 70_000
        replies = [client.request() for _ in range(2)]
        for up in [stage.upstream() for _ in replies]:
            up.says(content)
        client.hear()
        for _ in range(16):
            stage.wait(5)
            client.peer.says(b"\0\0\4\x08\0\0\0\0\3\0\0\0\1")
            client.hear()
        self.assertEqual([one.reset for one in replies], [CANCEL, CANCEL])
