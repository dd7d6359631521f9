"""Upstreams that die, are not there yet, or are not who they should be."""

from __future__ import annotations

import datetime
import tempfile
import time
from pathlib import Path
from typing import Any, ClassVar

from tests.support.certificates import Authority, authority
from tests.support.nginx import Nginx
from tests.support.proxy import Sites, free_port
from tests.support.real_clients import (
    CURL_CUT,
    MIB,
    OverTls,
    OverUnix,
    RealCase,
    digest_of,
    write_random,
)
from tests.support.recording_upstream import RecordingUpstream

NOWHERE = "/dev/null"


class OutageCase(RealCase):
    """What tests of failing upstreams read in the log."""

    def lines_so_far(self) -> int:
        """How many lines the log has, counted when what happened before is in it."""
        mark = f"/{self.folder.name}/{len(self.proxy.lines)}"
        self.curl(f"http://{self.HOST}:{self.proxy.http_port}{mark}")
        self.proxy.wait_for_line(f"REQUEST .* path={mark} ")
        return len(self.proxy.lines)

    def upstream_errors(self, since: int, last: str) -> list[str]:
        """The UPSTREAM_ERROR lines from line ``since`` on until a line like ``last``."""
        self.proxy.wait_for_line(last, since=since)
        return [line for line in self.proxy.lines[since:] if " UPSTREAM_ERROR " in line]


class KilledUpstreamTests(OutageCase):
    """nginx on a TCP port is killed in the middle of a response, and started again."""

    @classmethod
    def start_upstream(cls) -> Nginx:
        """An nginx with a file that takes 8 s at its slow address."""
        nginx = super().start_upstream()
        write_random(nginx.files / "f", 4)
        return nginx

    def download_and_kill(self, *options: str) -> list[str]:
        """Kill nginx when the response has begun; the UPSTREAM_ERROR lines of that."""
        since = self.lines_so_far()
        curl = self.start_curl("--no-buffer", *options, self.url("/slow/f"))
        assert curl.stdout is not None
        got = len(curl.stdout.read(100_000))
        self.nginx.kill()
        rest, errors = curl.communicate(timeout=30)
        self.nginx.restart()
        self.assertIn(curl.returncode, CURL_CUT, errors)
        self.assertTrue(100_000 <= got + len(rest) < 4 * MIB)
        return self.upstream_errors(since, "REQUEST .* path=/slow/f status=200 ")

    def assert_works(self) -> None:
        """The next request gets the file whole."""
        self.curl("--fail", "-o", "got", self.url("/f"))
        self.assertEqual(digest_of(self.folder / "got"), digest_of(self.nginx.files / "f"))

    def test_killed_in_a_response_of_known_length(self) -> None:
        """curl sees that the response is cut, one line says why, and the next request works."""
        lines = self.download_and_kill()
        self.assertEqual(len(lines), 1, lines)
        prefix = f"WARN UPSTREAM_ERROR host={self.HOST} upstream={self.nginx.address} error="
        self.assertIn(prefix, lines[0])
        self.assert_works()

    def test_killed_in_a_chunked_response(self) -> None:
        """A chunked response that is cut is not ended as if it were whole."""
        lines = self.download_and_kill("-H", "Accept-Encoding: gzip")
        self.assertEqual(len(lines), 1, lines)
        self.assert_works()

    def test_killed_in_an_upload(self) -> None:
        """An upload that nginx did not live to take is 502, and the next one is stored."""
        digest = write_random(self.folder / "sent", 8)
        since = self.lines_so_far()
        upload = ("--data-binary", "@sent", self.url("/store"))
        curl = self.start_curl("--limit-rate", "4M", "-w", "%{http_code}", *upload)
        self.wait_until_stored()
        self.nginx.kill()
        said, _ = curl.communicate(timeout=30)
        self.nginx.restart()
        self.assertEqual(said, b"Bad Gateway502")
        lines = self.upstream_errors(since, "REQUEST .* path=/store status=502 ")
        self.assertEqual(len(lines), 1, lines)
        self.assertEqual(digest_of(self.curl(*upload).stdout.decode()), digest)

    def wait_until_stored(self) -> None:
        """Wait until nginx has written some of an upload."""
        deadline = time.monotonic() + 10
        while not any(path.stat().st_size for path in (self.nginx.folder / "body").iterdir()):
            self.assertLess(time.monotonic(), deadline, "no upload came")
            time.sleep(0.01)

    def test_killed_between_requests(self) -> None:
        """Without it requests are 502; the first one after its return is answered."""
        self.assert_works()
        self.nginx.kill()
        self.assertEqual(self.statuses("-o", NOWHERE, self.url("/f")), [502])
        self.nginx.restart()
        self.assert_works()

    def test_restarted_between_requests(self) -> None:
        """A kept connection that the restart has closed costs no request."""
        self.assert_works()
        self.nginx.kill()
        self.nginx.restart()
        self.assert_works()


class KilledUpstreamOverTlsTests(OverTls, KilledUpstreamTests):
    """The same with an nginx that speaks TLS."""


class KilledUpstreamOverUnixTests(OverUnix, KilledUpstreamTests):
    """The same with an nginx on a UNIX socket."""


class AbsentUpstreamTests(OutageCase):
    """Upstreams that are not there when the proxy starts."""

    ports: ClassVar[dict[str, int]] = {}

    @classmethod
    def sites(cls, upstream: Nginx) -> Sites:  # type: ignore[override]
        """Beside the one that serves: nobody there, no such name, and a name that is."""
        cls.ports = {"late.test": free_port(), "named.test": free_port()}
        port = upstream.address.rpartition(":")[2]
        return {
            cls.HOST: upstream.address,
            "late.test": f"127.0.0.1:{cls.ports['late.test']}",
            "named.test": f"localhost:{cls.ports['named.test']}",
            "local.test": f"localhost:{port}",
            "unknown.test": f"no-such-name.invalid:{port}",
        }

    def status(self, host: str) -> int:
        """What a site answers."""
        return self.statuses("-o", NOWHERE, self.url("/none", host))[0]

    def test_absent(self) -> None:
        """Their sites answer 502 and say why; the others serve."""
        for host, reason in (
            ("late.test", "connection refused"),
            ("named.test", "connection refused"),
            ("unknown.test", "name resolution failed"),
        ):
            since = self.lines_so_far()
            self.assertEqual(self.status(host), 502)
            lines = self.upstream_errors(since, f"REQUEST .* host={host} .* status=502 ")
            self.assertEqual(len(lines), 1, lines)
            self.assertIn(f'error="{reason}"', lines[0])
        self.assertEqual(self.status(self.HOST), 404)

    def test_there_at_last(self) -> None:
        """A site serves as soon as its upstream does, by address and by name."""
        for host, port in self.ports.items():
            self.assertEqual(self.status(host), 502)
            upstream = RecordingUpstream(port=port)
            self.addCleanup(upstream.stop)
            self.assertEqual(self.status(host), 200)

    def test_one_address_of_a_name(self) -> None:
        """A name with several addresses is reached at the one where somebody listens."""
        self.assertEqual(self.status("local.test"), 404)


class ImpostorTests(OutageCase):
    """TLS upstreams whose certificates do not verify."""

    impostors: ClassVar[dict[str, Nginx]]
    stranger: ClassVar[tempfile.TemporaryDirectory[str]]

    @classmethod
    def sites(cls, upstream: Nginx) -> Sites:  # type: ignore[override]
        """Each with another fault."""
        cls.stranger = tempfile.TemporaryDirectory(prefix="revproxy-ca-")
        expired = -datetime.timedelta(hours=1)
        pairs = {
            "name.test": authority().pair("elsewhere.test"),
            "unknown.test": Authority(Path(cls.stranger.name)).pair("127.0.0.1"),
            "expired.test": authority().pair("127.0.0.1", lasts=expired),
        }
        cls.impostors = {host: Nginx(pair=pair) for host, pair in pairs.items()}
        addresses = {host: nginx.address for host, nginx in cls.impostors.items()}
        addresses["plain.test"] = upstream.address
        tls: dict[str, Any] = {"upstream_scheme": "https"}
        return {host: {"upstream": address, **tls} for host, address in addresses.items()}

    @classmethod
    def stop_others(cls) -> None:
        """Stop them all."""
        for nginx in cls.impostors.values():
            nginx.stop()
        cls.stranger.cleanup()

    def test_refused(self) -> None:
        """A wrong name, an unknown issuer, an expired certificate and no TLS are 502 each, and
        the log says which.
        """
        for host, reason in (
            ("name.test", "certificate verification failed: .*mismatch"),
            ("unknown.test", "certificate verification failed: .*(issuer|self-signed)"),
            ("expired.test", "certificate verification failed: certificate has expired"),
            ("plain.test", "tls: "),
        ):
            since = self.lines_so_far()
            status = self.statuses("-o", NOWHERE, self.url("/", host))
            self.assertEqual(status, [502], host)
            lines = self.upstream_errors(since, f"REQUEST .* host={host} .* status=502 ")
            self.assertEqual(len(lines), 1, lines)
            self.assertRegex(lines[0], f'UPSTREAM_ERROR host={host} upstream=.* error="{reason}')
