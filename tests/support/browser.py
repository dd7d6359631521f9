"""A real browser, without a window, that trusts the tests' certificates.

Owns the process and its profile. Refuses to know pages: what a page finds out it tells by asking
for a URL.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from tests.support.peers import require

END_SECONDS = 5


class Browser:
    """Chromium at one page, until :meth:`stop`.

    Args:
        url: of the page.
        port: of 127.0.0.1, where every name leads that ends in ``.test``.
        http2: whether it speaks HTTP/2.
    """

    def __init__(self, url: str, port: int, *, http2: bool = True) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="revproxy-browser-"))
        command = _command(self._folder, port)
        if not http2:
            command.append("--disable-http2")
        with open(self._folder / "output", "wb") as output:
            self._child = subprocess.Popen(
                [*command, url],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @staticmethod
    def take_picture(url: str, port: int, picture: Path) -> None:
        """Visit a page only to write a PNG of it to ``picture``."""
        with tempfile.TemporaryDirectory(prefix="revproxy-browser-") as folder:
            command = [*_command(Path(folder), port), f"--screenshot={picture}", url]
            subprocess.run(command, capture_output=True, timeout=60, check=True)

    @property
    def output(self) -> str:
        """What it has printed."""
        return (self._folder / "output").read_text(encoding="utf-8", errors="replace")

    def stop(self) -> None:
        """End it with all its processes, and remove its profile; a second time nothing happens."""
        if self._child.returncode is None:
            os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait(END_SECONDS)
        shutil.rmtree(self._folder, ignore_errors=True)


def _command(folder: Path, port: int) -> list[str]:
    return [
        require("chromium"),
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--ignore-certificate-errors",
        f"--user-data-dir={folder}",
        f"--host-resolver-rules=MAP *.test 127.0.0.1:{port}",
    ]
