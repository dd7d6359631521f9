"""The TLS layer once a handshake is done: records in, records out, and the end of either."""

from __future__ import annotations

import socket

from revproxy.net.tls_layer import WRITE_BYTES
from tests.support.fake_sockets import FIN
from tests.support.tls_peers import TLS_1_2, TLS_1_3
from tests.support.tls_wire import ServerCase


class RecordTests(ServerCase):
    def test_one_record(self) -> None:
        """One record is one piece of plaintext, and the answer leaves in one send."""
        self.established()
        self.to_layer(self.encrypted(b"hello"))
        self.assertEqual((bytes(self.upper.received), self.upper.reads), (b"hello", 1))
        sends = len(self.connection.wire.sends)
        self.layer.write(b"answer")
        self.assertEqual(len(self.connection.wire.sends), sends + 1)
        self.assertEqual(self.heard(), b"answer")

    def test_many_records(self) -> None:
        """Many records in one read are one piece of plaintext."""
        self.established()
        contents = [b"%d," % number for number in range(100)] + [b"x" * 16384] * 3
        self.to_layer(self.encrypted(*contents))
        self.assertEqual((bytes(self.upper.received), self.upper.reads), (b"".join(contents), 1))

    def test_split_at_every_byte(self) -> None:
        """Where the bytes of two records are split makes no difference."""
        for version in (TLS_1_2, TLS_1_3):
            self.setUp()
            self.established(version)
            length = len(self.encrypted(b"hello", b"world"))
            self.setUp()
            self.established(version)
            for at in range(1, length):
                stream = self.encrypted(b"hello", b"world")
                self.upper.received.clear()
                self.to_layer(stream[:at], stream[at:])
                self.assertEqual(bytes(self.upper.received), b"helloworld")

    def test_long_writes(self) -> None:
        """Writes of any length arrive whole."""
        self.established()
        for length in (1, WRITE_BYTES - 1, WRITE_BYTES, WRITE_BYTES + 1, 5 * WRITE_BYTES + 17):
            content = bytes(length)
            self.layer.write(content)
            self.assertEqual(self.heard(), content)

    def test_broken_record(self) -> None:
        """A record that does not verify cuts the connection; what came before it counts."""
        self.established()
        good = self.encrypted(b"good")
        bad = bytearray(self.encrypted(b"bad"))
        bad[-1] ^= 1
        self.to_layer(good + bytes(bad))
        self.assertEqual(bytes(self.upper.received), b"good")
        self.assertEqual(self.connection.ended, "aborted")
        self.assertEqual(self.upper.events, ["connected", "lost"])

    def test_back_pressure(self) -> None:
        """Pausing and the figures of the queue are the TCP transport's."""
        self.established()
        self.layer.pauseProducing()
        self.assertEqual(self.reactor.readers, set())
        self.layer.resumeProducing()
        self.assertEqual(self.reactor.readers, {self.connection})
        self.connection.wire.room = 0
        taken = self.layer.taken
        self.layer.write(b"hello")
        self.assertGreater(self.layer.unsent, 5)
        self.assertEqual(self.layer.taken, taken)


class CloseTests(ServerCase):
    def test_close_notify_of_peer(self) -> None:
        """A close_notify is an end in order, told once; writing goes on."""
        for version in (TLS_1_2, TLS_1_3):
            self.setUp()
            self.established(version)
            self.to_layer(self.encrypted(b"last") + self.close_notify(), FIN)
            self.assertEqual(bytes(self.upper.received), b"last")
            self.assertEqual(self.upper.events, ["connected", "read closed, cut: False"])
            self.layer.write(b"answer")
            self.assertTrue(self.connection.wire.sent)

    def test_bare_fin(self) -> None:
        """A FIN without close_notify may be a cut, and says so."""
        self.established()
        self.to_layer(self.encrypted(b"last"), FIN)
        self.assertEqual(bytes(self.upper.received), b"last")
        self.assertEqual(self.upper.events, ["connected", "read closed, cut: True"])

    def test_bytes_after_close_notify(self) -> None:
        """What a peer sends after its close_notify is thrown away and fills no memory."""
        self.established()
        self.to_layer(self.close_notify())
        for _ in range(100):
            self.to_layer(bytes(100_000))
        self.assertEqual(self.layer._incoming.pending, 0)
        self.assertEqual(bytes(self.upper.received), b"")
        self.assertEqual(self.upper.events, ["connected", "read closed, cut: False"])

    def test_not_resumed_after_close_notify(self) -> None:
        """After the peer's close_notify there is nothing to resume reading for."""
        self.established()
        self.to_layer(self.close_notify())
        self.layer.pauseProducing()
        self.layer.resumeProducing()
        self.assertEqual(self.reactor.readers, set())

    def test_our_close(self) -> None:
        """loseConnection sends a close_notify, then closes after the last byte."""
        self.established()
        self.connection.wire.room = 0
        self.layer.write(b"last")
        self.layer.loseConnection()
        self.layer.write(b"never")
        self.assertIsNone(self.connection.ended)
        self.connection.wire.room = None
        self.reactor.run()
        self.assertEqual(self.heard(), b"last")
        self.assertEqual(self.far.tls.read(10), b"")
        self.assertEqual(self.connection.ended, "closed")
        self.assertEqual(self.upper.events, ["connected", "lost"])

    def test_our_half_close(self) -> None:
        """After our half-close the upper protocol counts what still comes, undecrypted."""
        self.established()
        self.layer.loseWriteConnection()
        self.reactor.run()
        self.assertEqual(self.far_end_reads(), b"")
        self.assertEqual(self.connection.wire.events, [f"shutdown {socket.SHUT_WR}"])
        stream = self.encrypted(b"late")
        self.to_layer(stream)
        self.assertEqual(len(self.upper.received), len(stream))
        self.layer.loseConnection()
        self.reactor.run()
        self.assertEqual(self.connection.ended, "closed")

    def far_end_reads(self) -> bytes:
        """What the peer's next read returns; nothing is an end in order."""
        self.to_far()
        return self.far.tls.read(10)

    def test_abort(self) -> None:
        """An abort sends no close_notify: the peer sees a cut."""
        self.established()
        self.connection.wire.sent.clear()
        self.layer.abortConnection()
        self.layer.write(b"never")
        self.reactor.run()
        self.assertEqual(bytes(self.connection.wire.sent), b"")
        self.assertEqual(self.upper.events, ["connected", "lost"])

    def test_lost(self) -> None:
        """A reset reaches the upper protocol once, and nothing can be written any more."""
        self.established()
        self.to_layer(ConnectionResetError(104, "reset"))  # type: ignore[arg-type]
        self.layer.write(b"never")
        self.layer.loseConnection()
        self.layer.abortConnection()
        self.assertEqual(self.upper.events, ["connected", "lost"])
