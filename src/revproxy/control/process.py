"""The process around the proxy: how it ends, and how it says that it cannot begin.

Owns signals and exit statuses. Refuses to know what is served.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from twisted.logger import Logger, globalLogBeginner
from twisted.python.failure import Failure

from revproxy.control.early_signals import release_signals
from revproxy.control.listening import BindError
from revproxy.control.proxy import Proxy
from revproxy.control.record_log import observe_twisted
from revproxy.control.reload import ReloadRefusedError
from revproxy.control.resolution import Resolver
from revproxy.errors import ConfigErrors

T = TypeVar("T")

_log = Logger()


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


def obey_signals(proxy: Proxy, reactor: Any, *, hangup_ends: bool = False) -> None:
    """What signals mean.

    SIGTERM and SIGINT begin the orderly end, which counts as regular: exit status 0. (The
    reactor's own signal actions, which are installed when it starts, would end the process by
    the signal.) A second one lets nothing finish any more; one after the command ``drain`` is the
    first. SIGHUP reloads, SIGUSR1 opens the log files again.

    Args:
        proxy: that obeys.
        reactor: not running yet.
        hangup_ends: whether SIGHUP is what a closed terminal sends, and ends the process too.
    """
    asked = False

    def end() -> None:
        nonlocal asked
        if asked:
            proxy.drain.cut()
        else:
            asked = True
            proxy.end()

    def hung_up() -> None:
        if hangup_ends:
            end()
        else:
            proxy.reload.request().addErrback(_told_already)

    actions: dict[int, Callable[[], None]] = {
        signal.SIGTERM: end,
        signal.SIGINT: end,
        signal.SIGHUP: hung_up,
        signal.SIGUSR1: proxy.writer.reopen,
    }

    def install() -> None:
        for number, action in actions.items():
            signal.signal(number, lambda *_, action=action: reactor.callFromThread(action))
        release_signals()

    reactor.callWhenRunning(install)


def _told_already(failure: Failure) -> None:
    """Nobody waits for the outcome of a reload by signal; the log has it, but for a traceback."""
    if failure.check(ConfigErrors, ReloadRefusedError) is None:
        _log.failure("while reloading", failure)


def prepare(proxy: Proxy, reactor: Any) -> None:
    """What every process around a proxy needs of its reactor, before it runs.

    Names are resolved where that holds nothing up, and the log is closed last of all.
    """
    reactor.installNameResolver(Resolver(reactor))
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
    obey_signals(proxy, reactor, hangup_ends=hangup_ends)
    prepare(proxy, reactor)
    reactor.callWhenRunning(started)
    reactor.run()
