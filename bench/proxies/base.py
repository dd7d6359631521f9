"""What every proxy under measurement has in common: the setup, its life, its readings."""

from __future__ import annotations

import re
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Self

from attrs import frozen

from bench import cpu
from bench.certificates import CertificateFiles
from bench.machine import CORES, find_program
from bench.process import PinnedProcess, fetch_over_tls, free_port

BODY_LIMIT_BYTES = 256 << 20

_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")


@frozen
class Setup:
    """What all proxies are configured to do, whatever their syntax.

    HTTP/1.1 over TLS 1.2 and 1.3 on one port of 127.0.0.1, where ``http2`` also HTTP/2; one
    worker, keep-alive to one upstream on 127.0.0.1 in HTTP/1.1, the forwarding headers set; the
    access log in a file, or off.
    """

    upstream_port: int
    certificates: tuple[CertificateFiles, ...]
    hosts: tuple[str, ...] = ("localhost",)
    access_log: bool = False
    upstream_host: str = "127.0.0.1"
    http2: bool = False


class Proxy(ABC):
    """One proxy, started in ``folder`` on a port of its own, pinned to the proxy core."""

    name: ClassVar[str]
    program: ClassVar[str]
    version_argument: ClassVar[str]

    def __init__(self, setup: Setup, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.setup = setup
        self.folder = folder
        self.port = free_port()
        self.access_log = folder / "access.log"
        command = self.configure()
        logs_to_stdout = setup.access_log and self.logs_to_stdout()
        self._process = PinnedProcess(
            CORES.proxy,
            command,
            self.access_log if logs_to_stdout else Path("/dev/null"),
            folder / "stderr",
        )
        try:
            self._process.wait_until(self._answers)
        except BaseException:
            self._process.stop()
            raise

    @classmethod
    def missing(cls) -> str | None:
        """Why this proxy cannot run here, or None when it can."""
        return None if find_program(cls.program) else f"{cls.program} is not installed"

    @classmethod
    def version(cls) -> str:
        """Its name and its version as it says it itself."""
        command = [cls.path(), cls.version_argument]
        shown = subprocess.run(command, capture_output=True, text=True, check=False)
        found = _VERSION.search(shown.stdout + shown.stderr)
        return f"{cls.name} {found[0] if found else 'of unknown version'}"

    @classmethod
    def path(cls) -> str:
        """Its executable."""
        return find_program(cls.program) or cls.program

    @abstractmethod
    def configure(self) -> list[str]:
        """Write the configuration into :attr:`folder`; the command that starts it."""

    def logs_to_stdout(self) -> bool:
        """Whether its access log is its standard output (else it writes the file itself)."""
        return False

    def cpu_seconds(self) -> float:
        """CPU time used so far by all its processes."""
        return cpu.cpu_seconds(self._process.pid)

    def resident_bytes(self) -> int:
        """Resident memory of all its processes."""
        return cpu.resident_bytes(self._process.pid)

    def _answers(self) -> bool:
        try:
            return fetch_over_tls(self.port, self.setup.hosts[0], "/")[0] == 200
        except OSError:
            return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.stop()
