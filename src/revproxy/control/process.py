"""The process around the proxy: how it ends, and how it says that it cannot begin.

Owns signals and exit statuses. Refuses to know what is served.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from twisted.logger import globalLogBeginner

from revproxy.control.proxy import BindError, Proxy
from revproxy.control.record_log import observe_twisted
from revproxy.errors import ConfigErrors

T = TypeVar("T")


def or_exit(make: Callable[[], T], pid_file: str | None = None) -> T:
    """What ``make`` returns; or its error in plain words on standard error, and exit status 1.

    Args:
        make: may raise ConfigErrors or BindError.
        pid_file: left by twistd, which removes it only at an end in order.
    """
    try:
        return make()
    except (ConfigErrors, BindError) as error:
        # Twisted may have put its log in the place of sys.stderr by now.
        print(error, file=sys.__stderr__)
        _exit(pid_file)


def _exit(pid_file: str | None) -> NoReturn:
    if pid_file:
        try:
            os.remove(pid_file)
        except OSError:
            pass
    sys.exit(1)


def stop_on_signals(reactor: Any) -> None:
    """SIGTERM and SIGINT stop the reactor and count as a regular end: exit status 0.

    The reactor's own signal actions, which are installed when it starts, would end the process
    by the signal.
    """

    def stop(signum: int, frame: object) -> None:
        reactor.callFromThread(_stop, reactor)

    def install() -> None:
        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)

    reactor.callWhenRunning(install)


def _stop(reactor: Any) -> None:
    if reactor.running:
        reactor.stop()


def serve_log(proxy: Proxy, reactor: Any, *, hangup_ends: bool = False) -> None:
    """SIGUSR1 opens the log files again (rotation), and the log is closed last of all.

    SIGHUP, which asks for a reload, must not end the process; a reload is not available yet.
    With ``hangup_ends`` it is what a closed terminal sends, and ends the process in order.
    """

    def hung_up() -> None:
        if hangup_ends:
            _stop(reactor)
            return
        record = (("status", "error"), ("error", "reload is not available yet"))
        proxy.log.record("error", "CONFIG_RELOAD", record)

    def install() -> None:
        signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(proxy.writer.reopen))
        signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(hung_up))

    reactor.callWhenRunning(install)
    reactor.addSystemEventTrigger("after", "shutdown", proxy.writer.close)


def run(
    proxy: Proxy,
    reactor: Any,
    started: Callable[[], None] = lambda: None,
    *,
    hangup_ends: bool = False,
) -> None:
    """Serve in the foreground until a signal ends it.

    Args:
        proxy: not started yet.
        reactor: not running yet.
        started: called once everything is bound and served.
        hangup_ends: whether SIGHUP ends it, too.
    """
    globalLogBeginner.beginLoggingTo([observe_twisted(proxy.log)], redirectStandardIO=False)
    or_exit(proxy.privilegedStartService)
    proxy.startService()
    reactor.addSystemEventTrigger("before", "shutdown", proxy.stopService)
    stop_on_signals(reactor)
    serve_log(proxy, reactor, hangup_ends=hangup_ends)
    reactor.callWhenRunning(started)
    reactor.run()
