"""How much memory the proxy takes while large bodies pass through it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import ClassVar

from tests.support.nginx import Nginx
from tests.support.real_clients import MIB, OverTls, RealCase, digest_of, write_random


def resident(pid: int) -> int:
    """Bytes of a process in memory (proc_pid_status(5), VmRSS)."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the process has no memory: it has ended")


class MemoryTests(RealCase):
    """Bodies pass in pieces: the proxy grows by little, all tests of a class together.

    Attributes:
        MEBIBYTES: how long the bodies are.
        SLOW: bytes a second that a slow client takes.
        GROWTH: bytes that the proxy may grow by.
    """

    MEBIBYTES: ClassVar[int] = 64
    SLOW: ClassVar[str] = "24M"
    GROWTH: ClassVar[int] = 10 * MIB

    digest: ClassVar[str]
    before: ClassVar[dict[int, int]] = {}

    @classmethod
    def start_upstream(cls) -> Nginx:
        """An nginx with a large file."""
        nginx = super().start_upstream()
        cls.digest = write_random(nginx.files / "large", cls.MEBIBYTES)
        return nginx

    def setUp(self) -> None:
        super().setUp()
        self.assertEqual(self.statuses("-o", "/dev/null", self.url("/none")), [404])
        self.before.setdefault(self.proxy.pid, resident(self.proxy.pid))

    def assert_grows_little(self, *arguments: str) -> None:
        """While curl runs, and after it, the proxy is not much larger than after its start."""
        curl = self.start_curl("--fail", *arguments)
        largest = 0
        while curl.returncode is None:
            try:
                _, errors = curl.communicate(timeout=0.02)
            except subprocess.TimeoutExpired:
                pass
            largest = max(largest, resident(self.proxy.pid))
        self.assertEqual(curl.returncode, 0, errors)
        grown = largest - self.before[self.proxy.pid]
        self.assertLess(grown, self.GROWTH, f"grown by {grown / MIB:.1f} MiB")

    def test_download(self) -> None:
        """A large download leaves the proxy small, and is whole."""
        self.assert_grows_little("-o", "got", self.url("/large"))
        self.assertEqual(digest_of(self.folder / "got"), self.digest)

    def test_download_by_a_slow_client(self) -> None:
        """What a slow client has not taken yet waits in the upstream, not in the proxy."""
        self.assert_grows_little("--limit-rate", self.SLOW, "-o", "got", self.url("/large"))
        self.assertEqual(digest_of(self.folder / "got"), self.digest)

    def test_upload(self) -> None:
        """A large upload leaves the proxy small, and is whole."""
        sent = str(self.nginx.files / "large")
        self.assert_grows_little("--upload-file", sent, self.url("/upload/large"))
        self.assertEqual(digest_of(self.nginx.folder / "upload" / "large"), self.digest)

    def test_chunked_upload(self) -> None:
        """A large upload of unknown length leaves the proxy small, and is whole."""
        sent = str(self.nginx.files / "large")
        chunked = ("-H", "Transfer-Encoding: chunked", "--upload-file", sent)
        self.assert_grows_little(*chunked, self.url("/upload/large"))
        self.assertEqual(digest_of(self.nginx.folder / "upload" / "large"), self.digest)


class MemoryOverTlsTests(OverTls, MemoryTests):
    """The same with an upstream that speaks TLS."""
