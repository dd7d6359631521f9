"""The real proxy as a child process, and configurations for it.

Owns the process, its ports, its files and what it printed. Refuses to know what a test wants
from it, except that a log with a traceback or an ``error`` record in it fails the test.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from revproxy.control.admin.client import ask
from tests.support.certificates import Pair, authority

SOURCES = Path(__file__).resolve().parents[2] / "src"
TROUBLE = re.compile(r"Traceback|^\S+ ERROR |(?<!DEBUG )TWISTED|Unhandled|\"level\": ?\"error\"")
ADMIN = "admin.sock"
"""What tests write as ``admin_socket_path`` where they want one."""
RUN = (sys.executable, "-m", "revproxy.cli", "run")
"""The foreground command, to be followed by its options."""
START_SECONDS = 20.0
STOP_SECONDS = 10.0

_TOP = {"health_check_port": 0, "admin_socket_path": "", "shutdown_timeout_secs": 1}

Sites = Mapping[str, str | Mapping[str, Any]]


def toml_value(value: Any) -> str:
    """One value as TOML; tables inline."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{escaped}"'
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{k} = {toml_value(v)}" for k, v in value.items()) + " }"
    return "[" + ", ".join(toml_value(item) for item in value) + "]"


def _table(header: str, entries: Mapping[str, Any]) -> str:
    return "\n".join([header, *(f"{key} = {toml_value(entries[key])}" for key in entries), ""])


def proxy_config(
    sites: Sites,
    *,
    http_port: int,
    https_port: int,
    certificates: Sequence[Pair] = (),
    limits: Mapping[str, Any] | None = None,
    timeouts: Mapping[str, Any] | None = None,
    rate_limit: Mapping[str, Any] | None = None,
    body: Mapping[str, Any] | None = None,
    logging: Mapping[str, Any] | None = None,
    listener: Mapping[str, Any] | None = None,
    tls: Mapping[str, Any] | None = None,
    **top: Any,
) -> str:
    """A configuration file's text: one listener on 127.0.0.1 that serves ``sites``.

    Args:
        sites: host to upstream address, or to a mapping with ``upstream`` and more site fields.
        certificates: the pairs to serve; one from the test authority for all hosts by default.
        top: top-level fields.
    """
    settings: dict[str, Any] = {}
    first, *others = certificates or (authority().pair(*sites),)
    if not tls or tls.get("mode") != "acme":
        settings = {"mode": "manual", "cert_path": first.cert_path, "key_path": first.key_path}
    if others:
        pairs = [{"cert_path": pair.cert_path, "key_path": pair.key_path} for pair in others]
        settings["certificates"] = pairs
    ports = {"bind_addr": "127.0.0.1", "http_port": http_port, "https_port": https_port}
    parts = [
        _table("", {**_TOP, **top}),
        _table(
            "[rate_limit]",
            {"requests_per_second": 1000000, "burst": 1000000, **(rate_limit or {})},
        ),
        _table("[body]", {"limit_bytes": 1 << 31, **(body or {})}),
        _table("[logging]", logging or {}),
        _table("[timeouts]", timeouts or {}),
        _table("[limits]", limits or {}),
        _table("[[listeners]]", {**ports, **(listener or {})}),
        _table("[listeners.tls]", {**settings, **(tls or {})}),
    ]
    for host, fields in sites.items():
        entries = {"upstream": fields} if isinstance(fields, str) else fields
        parts.append(_table("[[listeners.sites]]", {"host": host, **entries}))
    return "\n".join(parts)


def with_sources() -> dict[str, str]:
    """The environment in which a child finds these sources before any installed ones."""
    paths = [str(SOURCES), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


_given: deque[int] = deque(maxlen=100)


def free_port() -> int:
    """A free port of 127.0.0.1, below the range that outgoing connections are given.

    None is given again soon: whoever asked for it may not have bound it yet.
    """
    while True:
        port = random.randrange(20000, 32000)
        if port in _given:
            continue
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            _given.append(port)
            return port


class RunningProxy:
    """A proxy that listens, from construction until :meth:`stop`.

    Attributes:
        http_port: of the plain listener.
        https_port: of the TLS listener.
        address: where they listen.
        lines: what it has printed so far, standard output and standard error together.
    """

    def __init__(
        self,
        sites: Sites,
        *,
        command: Sequence[str] = RUN,
        environment: Mapping[str, str] | None = None,
        ports: tuple[int, int] | None = None,
        **overrides: Any,
    ) -> None:
        self.http_port, self.https_port = ports or (free_port(), free_port())
        bound = (overrides.get("listener") or {}).get("bind_addr", "")
        self.address = "127.0.0.1" if bound in {"", "::"} else bound
        self._folder = tempfile.mkdtemp(prefix="revproxy-test-")
        self.config_path = Path(self._folder, "config.toml")
        self.write_config(sites, **overrides)
        self.lines: list[str] = []
        self._checked = 0
        self._forgiven: list[str] = []
        self._changed = threading.Condition()
        self._child = subprocess.Popen(
            [*command, "--config", str(self.config_path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self._folder,
            env={**with_sources(), **(environment or {})},
        )
        self._reader = threading.Thread(target=self._collect, daemon=True)
        self._reader.start()
        try:
            self._wait_until_it_listens()
        except BaseException:
            self._end()
            raise

    def write_config(self, sites: Sites, **overrides: Any) -> None:
        """Write the configuration file for these ports."""
        text = proxy_config(
            sites, http_port=self.http_port, https_port=self.https_port, **overrides
        )
        self.config_path.write_text(text, encoding="utf-8")

    @property
    def pid(self) -> int:
        """The process id."""
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether the process has not ended yet."""
        return self._child.poll() is None

    @property
    def folder(self) -> Path:
        """Where its configuration is, and what that names by relative paths."""
        return Path(self._folder)

    def revproxy(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a ``revproxy`` command for this configuration, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "revproxy.cli", *words, "--config", str(self.config_path)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            env=with_sources(),
        )

    def ask(self, command: str) -> dict[str, Any]:
        """The reply of the admin socket, which is ``admin.sock`` in :attr:`folder`."""
        return dict(ask(str(self.folder / ADMIN), command))

    def send_signal(self, number: int) -> None:
        """Send a signal."""
        self._child.send_signal(number)

    def wait(self, timeout: float) -> int:
        """Wait for the process to end by itself; the exit status.

        Raises:
            AssertionError: it has not ended in time.
        """
        try:
            return self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            tail = "\n".join(self.lines[-20:])
            raise AssertionError(f"the proxy has not ended; its last lines:\n{tail}") from None

    def _collect(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            with self._changed:
                self.lines.append(line.decode("utf-8", "backslashreplace").rstrip("\n"))
                self._changed.notify_all()

    def _wait_until_it_listens(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        for port in (self.http_port, self.https_port):
            while True:
                try:
                    socket.create_connection((self.address, port), 1).close()
                    break
                except OSError:
                    if self._child.poll() is not None or time.monotonic() > deadline:
                        self._reader.join(1)
                        output = "\n".join(self.lines)
                        raise AssertionError(f"the proxy did not start:\n{output}") from None
                    time.sleep(0.02)

    def wait_for_line(self, pattern: str, timeout: float = 5.0, since: int = 0) -> str:
        """The first printed line, from line number ``since`` on, in which ``pattern`` is found.

        Raises:
            AssertionError: none came in time.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                for line in self.lines[since:]:
                    if re.search(pattern, line):
                        return line
                remaining = deadline - time.monotonic()
                if remaining <= 0 or not self._changed.wait(remaining):
                    tail = "\n".join(self.lines[-20:])
                    raise AssertionError(f"no line with {pattern!r} in time; the last:\n{tail}")

    def forgive(self, pattern: str) -> None:
        """Lines so far in which ``pattern`` is found are no trouble."""
        with self._changed:
            self._forgiven += [line for line in self.lines if re.search(pattern, line)]

    def check_log(self) -> None:
        """Fail when trouble was printed since the last check."""
        with self._changed:
            fresh = self.lines[self._checked :]
            self._checked = len(self.lines)
        trouble = [line for line in fresh if TROUBLE.search(line) and line not in self._forgiven]
        if trouble:
            raise AssertionError("the proxy's log has trouble in it:\n" + "\n".join(fresh[-60:]))

    def stop(self, *, allow_errors: bool = False, by: int = signal.SIGTERM) -> int:
        """SIGTERM (or signal ``by``), a bounded wait, SIGKILL if need be; the exit status.

        Raises:
            AssertionError: the log has trouble in it (unless allowed), or it had to be killed.
        """
        self._child.send_signal(by)
        status = self._end()
        if not allow_errors:
            self.check_log()
            if status == -signal.SIGKILL:
                raise AssertionError("the proxy did not end by the signal")
        return status

    def _end(self) -> int:
        try:
            status = self._child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            status = self._child.wait()
        self._reader.join(5)
        assert self._child.stdout is not None
        self._child.stdout.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        return status
