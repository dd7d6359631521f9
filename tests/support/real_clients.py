"""Test cases with programs that people use on both sides: curl and git, and nginx.

Owns how the programs are pointed at the proxy and what they may read from the machine: nothing.
Refuses to know what a test asks of them.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from tests.support.cases import ProxyCase
from tests.support.certificates import authority
from tests.support.nginx import Nginx
from tests.support.peers import require
from tests.support.proxy import Sites

MIB = 1 << 20
CURL_CUT = (18, 56)
"""curl's exit statuses for a response that was cut: short of its length, or lost."""
# curl 7.88 now and then never ends a git push of unknown length over HTTP/2, with nginx's own
# HTTP/2 as with ours.
QUIET = (
    "http.version=HTTP/1.1",
    "gc.auto=0",
    "user.name=tester",
    "user.email=tester@a.test",
    "init.defaultBranch=main",
)


def write_random(path: Path, mebibytes: int) -> str:
    """Make ``path`` a file in which no two MiB are equal; its digest."""
    block = os.urandom(MIB - 8)
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        for number in range(mebibytes):
            for part in (number.to_bytes(8, "big"), block):
                file.write(part)
                digest.update(part)
    return digest.hexdigest()


def digest_of(path: str | Path) -> str:
    """The digest of a file, to compare with that of :func:`write_random`."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class RealCase(ProxyCase):
    """The proxy in front of an nginx of the class, with curl and git to ask it.

    Attributes:
        nginx: the upstream.
        folder: an empty one, removed after the test.
        NGINX: arguments of the class's :class:`Nginx`.
        HTTP: the version that curl is to speak.
    """

    NGINX: ClassVar[dict[str, Any]] = {}
    HTTP: ClassVar[str] = "--http1.1"
    OVERRIDES = {
        "environment": {"SSL_CERT_FILE": authority().ca_path},
        "limits": {"max_connections_per_ip": 1000},
    }

    @classmethod
    def start_upstream(cls) -> Nginx:  # type: ignore[override]
        """An nginx."""
        return Nginx(**cls.NGINX)

    @classmethod
    def sites(cls, upstream: Nginx) -> Sites:  # type: ignore[override]
        """One, in front of it."""
        return {cls.HOST: {"upstream": upstream.address, **cls.SITE}}

    def setUp(self) -> None:
        super().setUp()
        self.nginx: Nginx = self.upstream  # type: ignore[assignment]
        folder = tempfile.TemporaryDirectory(prefix="revproxy-client-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def url(self, path: str, host: str = "") -> str:
        """Where ``path`` of a site is found through HTTPS."""
        return f"https://{host or self.HOST}:{self.proxy.https_port}{path}"

    def curl_command(self, *arguments: str) -> list[str]:
        """The command line of a curl that finds every site at the proxy."""
        command = [require("curl"), "--disable", "--silent", "--show-error", "--max-time", "60"]
        command.append(self.HTTP)
        command += ["--cacert", authority().ca_path, "--noproxy", "*"]
        for port in (self.proxy.https_port, self.proxy.http_port):
            command += ["--resolve", f"*:{port}:127.0.0.1"]
        return [*command, *arguments]

    def curl(
        self, *arguments: str, given: bytes | None = None, ends: int | tuple[int, ...] = 0
    ) -> subprocess.CompletedProcess[bytes]:
        """Run curl to its end.

        Args:
            arguments: options and addresses.
            given: its standard input.
            ends: the exit statuses that are right.
        """
        done = subprocess.run(
            self.curl_command(*arguments),
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            check=False,
            timeout=90,
            cwd=self.folder,
        )
        right = (ends,) if isinstance(ends, int) else ends
        self.assertIn(done.returncode, right, done.stderr.decode("utf-8", "replace"))
        return done

    def start_curl(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start curl with its output in pipes; it is killed at the test's end if it still runs."""
        child = subprocess.Popen(
            self.curl_command(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.folder,
        )
        self.addCleanup(child.__exit__, None, None, None)
        self.addCleanup(child.kill)
        return child

    def statuses(self, *arguments: str) -> list[int]:
        """The status of each of curl's transfers whose output goes to files or nowhere."""
        printed = self.curl("--write-out", "%{http_code}\n", *arguments).stdout
        return [int(line) for line in printed.split()]

    def git(self, *arguments: str) -> str:
        """What git says, run without any configuration of the machine."""
        environment: Mapping[str, str] = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.folder),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_SSL_CAINFO": authority().ca_path,
        }
        resolve = f"http.curloptResolve={self.HOST}:{self.proxy.https_port}:127.0.0.1"
        options = [part for option in (*QUIET, resolve) for part in ("-c", option)]
        done = subprocess.run(
            [require("git"), *options, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=90,
            cwd=self.folder,
            env=environment,
        )
        self.assertEqual(done.returncode, 0, done.stderr.decode("utf-8", "replace"))
        return done.stdout.decode().strip()


class OverTls:
    """Mixed in before a :class:`RealCase`: nginx speaks TLS and the proxy verifies it."""

    NGINX: ClassVar[dict[str, Any]] = {"pair": authority().pair("127.0.0.1")}
    SITE: ClassVar[dict[str, Any]] = {"upstream_scheme": "https"}


class OverUnix:
    """Mixed in before a :class:`RealCase`: nginx listens on a UNIX socket."""

    NGINX: ClassVar[dict[str, Any]] = {"unix": True}
