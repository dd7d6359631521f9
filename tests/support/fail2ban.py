"""Debian's fail2ban with the filters and jails of ``deploy/fail2ban``, unchanged.

Owns a configuration in a temporary folder, the calls of ``fail2ban-regex``, and a server of its
own. Refuses to know what is in a log and who should be banned.
"""

from __future__ import annotations

import ast
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.support.peers import require

SHIPPED = Path(__file__).resolve().parents[2] / "deploy" / "fail2ban"
INSTALLED = Path("/etc/fail2ban")
JAILS = ("reverse-proxy", "reverse-proxy-4xx", "reverse-proxy-badbots")
"""The jails, and the filter of each, which has the same name."""

WAIT_SECONDS = 30.0
STOP_SECONDS = 20.0

SERVER = """\
[DEFAULT]
logtarget = {folder}/server.log
socket = {folder}/server.sock
pidfile = {folder}/server.pid
dbfile = None
"""
ACTION = """\
[Definition]
actionstart = printf '%%s starts\\n' '<name>' > '{folder}/told'
actionban = printf '%%s %%s\\n' '<name>' '<ip>' > '{folder}/told'
"""
LOCAL = """\
[{jail}]
logpath = {log}
ignoreip =
action = tell
"""


def failures(name: str, log: Path, *, zone: str = "UTC") -> list[tuple[str, int]]:
    """What filter ``name`` finds in a log: address and seconds since 1970, line by line.

    Args:
        zone: the time zone that fail2ban lives in.
    """
    path = SHIPPED / "filter.d" / f"{name}.conf"
    done = subprocess.run(
        [require("fail2ban-regex"), "--out", "row", str(log), str(path)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "TZ": zone},
    )
    assert done.returncode in {0, 1} and not done.stderr, done  # 1: nothing was found
    rows = ast.literal_eval(f"[{done.stdout}]")
    return [(address, int(when)) for address, when, _ in rows]


def addresses(name: str, log: Path) -> Counter[str]:
    """How often filter ``name`` finds each address in a log."""
    return Counter(address for address, _ in failures(name, log))


class Fail2ban:
    """A server with Debian's configuration and the shipped jails, which have started.

    Only the log's path, the ignored addresses and the action are others: a ban is told to
    :meth:`next_ban`.
    """

    def __init__(self, log: Path) -> None:
        program = require("fail2ban-server")
        self._folder = Path(tempfile.mkdtemp(prefix="revproxy-fail2ban-"))
        config = self._folder / "config"
        # Without what somebody has set up on this machine.
        shutil.copytree(
            INSTALLED, config, ignore=shutil.ignore_patterns("*.local", "jail.d", "fail2ban.d")
        )
        shutil.copytree(SHIPPED, config, dirs_exist_ok=True)
        for name, text in (
            ("fail2ban.local", SERVER.format(folder=self._folder)),
            ("action.d/tell.conf", ACTION.format(folder=self._folder)),
            ("jail.local", "".join(LOCAL.format(jail=jail, log=log) for jail in JAILS)),
        ):
            (config / name).write_text(text, encoding="utf-8")
        os.mkfifo(self._folder / "told")
        # For writing too, so that it never ends.
        self._pipe = os.open(self._folder / "told", os.O_RDWR | os.O_NONBLOCK)
        self._told = b""
        self._child = subprocess.Popen(
            [program, "-f", "-c", str(config), "start"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            # One that is ended before all its jails have started may never end.
            started = {self._next() for _ in JAILS}
            assert started == {(jail, "starts") for jail in JAILS}, started
        except BaseException:
            self.stop()
            raise

    def next_ban(self) -> tuple[str, str]:
        """Wait for the next ban: the jail and the address.

        Raises:
            AssertionError: none came in time.
        """
        return self._next()

    def _next(self) -> tuple[str, str]:
        deadline = time.monotonic() + WAIT_SECONDS
        while b"\n" not in self._told:
            remaining = max(0.0, deadline - time.monotonic())
            if not select.select([self._pipe], [], [], remaining)[0]:
                log = self._folder / "server.log"
                said = log.read_text(encoding="utf-8") if log.exists() else ""
                raise AssertionError(f"no jail did anything in time; fail2ban said:\n{said}")
            self._told += os.read(self._pipe, 4096)
        line, _, self._told = self._told.partition(b"\n")
        jail, _, what = line.decode().partition(" ")
        return jail, what

    def stop(self) -> None:
        """End the server and remove its folder."""
        self._child.terminate()
        try:
            self._child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        os.close(self._pipe)
        shutil.rmtree(self._folder, ignore_errors=True)
