"""HTTP/2 with the programs that people use: curl, nghttp, h2load, and a browser."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.browser import Browser
from tests.support.page import IMAGES, EchoServer, page_upstream
from tests.support.peers import require
from tests.support.proxy import ADMIN, RunningProxy
from tests.support.real_clients import RealCase, digest_of, write_random
from tests.support.recording_upstream import RecordingUpstream

VERSION = "%{http_version} %{http_code} %{num_connects}\n"


class ClientTests(RealCase):
    """Command-line clients, and nginx behind the proxy."""

    HTTP = "--http2"
    HOST = "a.test"
    SITE: dict[str, object] = {}

    def setUp(self) -> None:
        super().setUp()
        (self.nginx.files / "small").write_bytes(b"hello, world")

    def test_curl(self) -> None:
        """curl speaks HTTP/2 without being told to, several times on one connection."""
        done = self.curl("--write-out", VERSION, *[self.url("/small")] * 3)
        self.assertEqual(done.stdout.count(b"hello, world"), 3)
        used = re.findall(rb"2 200 [01]", done.stdout)
        self.assertEqual(used, [b"2 200 1", b"2 200 0", b"2 200 0"])

    def test_bodies(self) -> None:
        """Large bodies are intact both ways, compressed ones too."""
        digest = write_random(self.nginx.files / "large", 20)
        self.curl("--output", "down", self.url("/large"))
        self.assertEqual(digest_of(self.folder / "down"), digest)
        self.curl("--upload-file", "down", self.url("/upload/up"))
        self.assertEqual(digest_of(self.nginx.folder / "upload/up"), digest)
        self.curl("--compressed", "--output", "unpacked", self.url("/large"))
        self.assertEqual(digest_of(self.folder / "unpacked"), digest)

    def test_parallel(self) -> None:
        """Fifty downloads at once share one connection."""
        write_random(self.nginx.files / "part", 1)
        urls = [word for n in range(50) for word in ("--output", f"part{n}", self.url("/part"))]
        done = self.curl("--parallel", "--parallel-max", "50", "--write-out", VERSION, *urls)
        made = [int(line.split()[2]) for line in done.stdout.splitlines()]
        self.assertLessEqual(sum(made), 2)
        self.assertEqual(len({digest_of(self.folder / f"part{n}") for n in range(50)}), 1)

    def test_nghttp(self) -> None:
        """nghttp, which is strict, finds nothing to complain of."""
        url = f"https://127.0.0.1:{self.proxy.https_port}/small"
        command = [require("nghttp"), "--no-verify-peer", "--null-out", "--verbose"]
        command += ["--multiply=20", "--header=:authority: a.test", url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        self.assertEqual(done.stdout.count(":status: 200"), 20, done.stdout)
        self.assertNotIn("RST_STREAM", done.stdout)


class LoadTests(RealCase):
    """h2load: many requests, and not one error."""

    HOST = "a.test"
    SITE: dict[str, object] = {}
    REQUESTS = 5000

    def test_load(self) -> None:
        """Every request of eight connections with eight streams is answered with 200."""
        (self.nginx.files / "small").write_bytes(b"hello, world")
        where = f"127.0.0.1:{self.proxy.https_port}"
        command = [require("h2load"), f"--requests={self.REQUESTS}", "--clients=8"]
        command += ["--max-concurrent-streams=8", f"--connect-to={where}", "https://a.test/small"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        self.assertIn("Application protocol: h2", done.stdout)
        self.assertIn(f"status codes: {self.REQUESTS} 2xx", done.stdout)
        self.assertIn(f"{self.REQUESTS} succeeded, 0 failed, 0 errored, 0 timeout", done.stdout)


class BrowserTests(SynchronousTestCase):
    """Chromium with a page of a hundred images and a WebSocket."""

    SECONDS = 60

    def visit(self, *, http2: bool) -> str:
        """Visit the page; what the browser tells, and how many connections it has open."""
        upstream, echo = page_upstream(), EchoServer()
        self.addCleanup(upstream.stop)
        self.addCleanup(echo.stop)
        sites = {"a.test": upstream.address, "ws.test": echo.address}
        proxy = RunningProxy(sites, admin_socket_path=ADMIN)
        self.addCleanup(proxy.stop)
        browser = Browser("https://a.test/", proxy.https_port, http2=http2)
        self.addCleanup(browser.stop)
        upstream.wait_until(lambda: bool(self.told(upstream)), self.SECONDS)
        self.connections = proxy.ask("connections")["connections"]
        told = self.told(upstream)
        browser.stop()
        self.tunnel = proxy.wait_for_line("host=ws.test .*bytes_out=")
        return told

    def told(self, upstream: RecordingUpstream) -> str:
        """What the browser has found out; ``""`` for nothing yet."""
        targets = [one.target.decode() for one in upstream.requests]
        return "".join(target[6:] for target in targets if target.startswith("/told?"))

    def test_http_2(self) -> None:
        """Over HTTP/2 all images come on one connection, and the WebSocket echoes a megabyte."""
        self.assertEqual(self.visit(http2=True), f"images={IMAGES}&by=h2&echo=true")
        self.assertEqual([one["server_name"] for one in self.connections].count("a.test"), 1)
        self.assertIn("method=CONNECT path=/echo status=200", self.tunnel)

    def test_http_1(self) -> None:
        """Over HTTP/1.1 the same page works."""
        self.assertEqual(self.visit(http2=False), f"images={IMAGES}&by=http/1.1&echo=true")
        self.assertIn("method=GET path=/echo status=101", self.tunnel)

    def test_picture(self) -> None:
        """The page can be looked at: a screenshot is left in trial's folder."""
        upstream = page_upstream()
        self.addCleanup(upstream.stop)
        proxy = RunningProxy({"a.test": upstream.address})
        self.addCleanup(proxy.stop)
        picture = Path("page.png").absolute()
        Browser.take_picture("https://a.test/", proxy.https_port, picture)
        self.assertEqual(picture.read_bytes()[:4], b"\x89PNG")
        images = [one for one in upstream.requests if one.target.startswith(b"/image/")]
        self.assertEqual(len(images), IMAGES)
