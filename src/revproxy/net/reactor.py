"""Twisted's epoll reactor without its logging context around every event.

Owns the loop over ready descriptors. Stock Twisted enters a logging context (two dicts, four
calls) for each event, so that the legacy log can name the protocol that spoke; nothing here logs
that way (docs/architecture/decisions/0012). Everything else is Twisted's own. Refuses to know
what is ready.
"""

from __future__ import annotations

import sys
from select import EPOLLIN
from time import monotonic
from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.main import installReactor
from twisted.logger import Logger

_log = Logger()


class LeanEPollReactor(EPollReactor):
    """See the module. Its clock is monotonic, so that setting the system's moves no time limit."""

    seconds = staticmethod(monotonic)

    def doPoll(self, timeout: float | None) -> None:
        """Wait for events, at most ``timeout`` seconds, and tell their selectables."""
        selectables: dict[int, Any] = self._selectables
        events = self._poller.poll(-1 if timeout is None else timeout, len(selectables))
        for fd, event in events:
            selectable = selectables.get(fd)
            if selectable is None:
                continue
            if event != EPOLLIN:
                self._doReadOrWrite(selectable, fd, event)
                continue
            try:
                why = selectable.doRead()
            except BaseException:
                why = sys.exc_info()[1]
                _log.failure("while reading")
            if why:
                self._disconnectSelectable(selectable, why, True)

    doIteration = doPoll


def install() -> None:
    """Make this the process' reactor, unless it has one already."""
    if "twisted.internet.reactor" not in sys.modules:
        installReactor(LeanEPollReactor())
