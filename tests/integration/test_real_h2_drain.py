"""SIGTERM while a response is on its way over HTTP/2: it arrives whole."""

from __future__ import annotations

import signal

from twisted.trial.unittest import SynchronousTestCase

from revproxy.wire.h2 import frames
from revproxy.wire.h2.frames import settings, window_update
from tests.support.h2_raw import RawH2
from tests.support.h2_wire import headers
from tests.support.proxy import RunningProxy
from tests.support.recording_upstream import RecordingUpstream

SITE = "site.test"
SIZE = 3 << 20


class DrainTests(SynchronousTestCase):
    """A process that is about to end."""

    def setUp(self) -> None:
        self.upstream = RecordingUpstream()
        self.addCleanup(self.upstream.stop)
        self.proxy = RunningProxy({SITE: self.upstream.address}, shutdown_timeout_secs=20)
        self.addCleanup(self.proxy.stop)

    def test_client_that_gives_window_until_the_end(self) -> None:
        """What the client says while it takes the last response does not cut that response.

        The end of it is in the kernel when the proxy closes; a WINDOW_UPDATE that met a closed
        socket would be answered by a reset, and throw it away.
        """
        content = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE + b"x" * SIZE
        self.upstream.default = content
        window = settings({frames.INITIAL_WINDOW_SIZE: 2 * SIZE}) + window_update(0, 2 * SIZE)
        client = RawH2(self.proxy.https_port, SITE, window=window, receive_buffer=65536)
        self.addCleanup(client.close)
        client.send(headers(1, client.fields()))
        answered: list[int] = []

        def read_some() -> bool:
            got = len(client.answers[1].body) if 1 in client.answers else 0
            if got // 65536 > len(answered):
                answered.append(got)
                client.send(window_update(1, 1))
                if len(answered) == 2:
                    self.proxy.send_signal(signal.SIGTERM)
                    self.proxy.wait_for_line(" DRAIN ")
            return got == SIZE

        client.read(read_some)
        self.assertEqual(len(client.answers[1].body), SIZE)
        self.assertTrue(client.answers[1].ended)
        client.close()
        self.assertEqual(self.proxy.wait(10), 0)
