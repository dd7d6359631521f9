"""Signals that come before anything can act on them.

Owns which have to wait. Refuses to know what they mean (``process``), and imports nothing that
takes its time: whoever starts calls this first.
"""

from __future__ import annotations

import signal

EARLY = frozenset({signal.SIGHUP, signal.SIGUSR1})
"""What asks for a reload, or for log files to be opened again."""


def hold_signals() -> None:
    """Let :data:`EARLY` wait, which would end a process that is still starting."""
    signal.pthread_sigmask(signal.SIG_BLOCK, EARLY)


def release_signals() -> None:
    """Deliver those that have waited, and all that come from now on."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, EARLY)
