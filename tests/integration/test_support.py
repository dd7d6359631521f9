"""The support code, held against itself and against nginx."""

from __future__ import annotations

import subprocess
import tomllib

from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import authority
from tests.support.nginx import Nginx
from tests.support.peers import require
from tests.support.proxy import proxy_config
from tests.support.raw_client import BadAnswerError, RawClient
from tests.support.recording_upstream import OK, Answer, FullBacklog, RecordingUpstream

GET = b"GET /a?b HTTP/1.1\r\nHost: a.test\r\n\r\n"


class RawClientTests(SynchronousTestCase):
    """The client and the upstream understand each other, and nginx."""

    def upstream(self, **options: object) -> RecordingUpstream:
        """An upstream that ends with the test."""
        upstream = RecordingUpstream(**options)  # type: ignore[arg-type]
        self.addCleanup(upstream.stop)
        return upstream

    def connect(self, upstream: RecordingUpstream) -> RawClient:
        """A plain connection to it."""
        client = RawClient.plain(upstream.port)
        self.addCleanup(client.close)
        return client

    def test_requests_are_recorded(self) -> None:
        """Bytes, requests, bodies and trailers are recorded as they came."""
        upstream = self.upstream()
        body = (
            b"POST /p HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nhi\r\n0\r\nT: u\r\n\r\n"
        )
        client = self.connect(upstream)
        client.send(GET + body)
        self.assertEqual([client.read_response().body for _ in "ab"], [b"ok", b"ok"])
        first, second = upstream.requests
        self.assertEqual((first.target, second.body), (b"/a?b", b"hi"))
        self.assertEqual((second.trailers, second.complete), ([(b"T", b"u")], True))
        self.assertEqual(upstream.received, GET + body)
        self.assertEqual(upstream.connections, 1)

    def test_cut_responses_show(self) -> None:
        """A cut body is incomplete, whichever way it is framed."""
        start = b"HTTP/1.1 200 OK\r\n"
        for raw in (
            start + b"Content-Length: 9\r\n\r\nhi",
            start + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n",
            start + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n",
        ):
            upstream = self.upstream(default=Answer((raw,), then="close"))
            response = self.connect(upstream).ask(GET)
            self.assertEqual((response.body, response.complete), (b"hi", False))

    def test_until_close(self) -> None:
        """A body that ends with the connection is whole after FIN, cut after RST."""
        raw = b"HTTP/1.1 200 OK\r\n\r\nhi"
        for then, whole in (("close", True), ("reset", False)):
            upstream = self.upstream(default=Answer((raw,), then=then))
            client = self.connect(upstream)
            self.assertEqual(client.ask(GET).complete, whole)

    def test_wrong_answers_show(self) -> None:
        """What is no HTTP is not repaired."""
        for raw in (b"HTTP/1.1 20 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nX : y\r\n\r\n"):
            client = self.connect(self.upstream(default=raw))
            self.assertRaises(BadAnswerError, client.ask, GET)

    def test_tls_and_unix(self) -> None:
        """The upstream speaks TLS with a pair of the authority, and listens on a UNIX socket."""
        upstream = self.upstream(pair=authority().pair("a.test"))
        client = RawClient.tls(upstream.port, "a.test")
        self.addCleanup(client.close)
        self.assertEqual(client.ask(GET).body, b"ok")
        names = (client.tls_sock.getpeercert() or {})["subjectAltName"]
        self.assertEqual(names, (("DNS", "a.test"),))
        self.assertTrue(self.upstream(unix=True, default=OK).address.startswith("unix:/"))

    def test_full_backlog(self) -> None:
        """Connecting to a full backlog does not succeed."""
        full = FullBacklog()
        self.addCleanup(full.stop)
        port = int(full.address.rpartition(":")[2])
        self.assertRaises(TimeoutError, RawClient.plain, port, timeout=0.3)

    def test_nginx(self) -> None:
        """nginx serves files, ranges and refusals that the client reads."""
        nginx = Nginx()
        self.addCleanup(nginx.stop)
        (nginx.files / "f.txt").write_bytes(b"0123456789")
        client = RawClient.plain(int(nginx.address.rpartition(":")[2]))
        self.addCleanup(client.close)
        request = b"%s /%s HTTP/1.1\r\nHost: a.test\r\n%s\r\n"
        self.assertEqual(client.ask(request % (b"GET", b"f.txt", b"")).body, b"0123456789")
        ranged = client.ask(request % (b"GET", b"f.txt", b"Range: bytes=2-4\r\n"))
        self.assertEqual((ranged.status, ranged.body), (206, b"234"))
        self.assertEqual(client.ask(request % (b"HEAD", b"f.txt", b""), b"HEAD").status, 200)
        self.assertEqual(client.ask(request % (b"GET", b"none", b"")).status, 404)

    def test_nginx_git(self) -> None:
        """git clones from and pushes to nginx over smart HTTP."""
        git = require("git")
        nginx = Nginx(git=True)
        self.addCleanup(nginx.stop)
        nginx.new_repository("r.git")
        url = f"http://{nginx.address}/git/r.git"
        work = str(nginx.folder / "work")
        who = ["-c", "user.name=t", "-c", "user.email=t@a.test"]
        for command in (
            [git, "clone", "-q", url, work],
            [git, *who, "-C", work, "commit", "-q", "--allow-empty", "-m", "one"],
            [git, "-C", work, "push", "-q", "origin", "HEAD:main"],
            [git, "clone", "-q", url, work + "2"],
        ):
            subprocess.run(command, check=True, timeout=30, capture_output=True)
        self.assertTrue((nginx.folder / "work2" / ".git" / "refs").is_dir())


class ProxyConfigTests(SynchronousTestCase):
    """The configuration builder writes TOML."""

    def test_round_trip(self) -> None:
        """What was asked for is what a TOML reader reads."""
        text = proxy_config(
            {"a.test": "127.0.0.1:1", "b.test": {"upstream": "unix:/x", "upstream_keepalive": 0}},
            http_port=1,
            https_port=2,
            limits={"request_headers": 3},
            trusted_proxies=["127.0.0.0/8"],
            certificates=[authority().pair("a.test"), authority().pair("b.test")],
        )
        read = tomllib.loads(text)
        self.assertEqual(read["limits"], {"request_headers": 3})
        self.assertEqual(read["trusted_proxies"], ["127.0.0.0/8"])
        listener = read["listeners"][0]
        self.assertEqual([site["host"] for site in listener["sites"]], ["a.test", "b.test"])
        self.assertEqual(len(listener["tls"]["certificates"]), 1)
