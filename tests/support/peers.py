"""Programs that some tests run against, and what happens where one is missing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from twisted.trial.unittest import SkipTest

OUTSIDE_PATH = ("/usr/sbin", "/sbin", "/usr/lib/git-core", "/usr/libexec/git-core")


def find(name: str) -> str | None:
    """The path of a program, also in the folders that are rarely on ``PATH``."""
    found = shutil.which(name)
    candidates = [Path(folder, name) for folder in OUTSIDE_PATH]
    return found or next((str(path) for path in candidates if os.access(path, os.X_OK)), None)


def require(name: str) -> str:
    """The path of program ``name``; skips the test without it, fails where ``CI=true``."""
    found = find(name)
    if found is not None:
        return found
    message = f"{name} is not installed (make setup-peers installs it)"
    if os.environ.get("CI") == "true":
        raise AssertionError(message)
    raise SkipTest(message)
