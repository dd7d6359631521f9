"""The twistd plugin: ``twistd revproxy --config FILE``.

Owns the options and the assembly. Refuses to know how anything is done.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.logger import ILogObserver, LogEvent
from twisted.python import usage
from zope.interface import implementer

import revproxy
from revproxy.control.early_signals import hold_signals
from revproxy.control.process import obey_signals, or_exit, prepare
from revproxy.control.proxy import Proxy, check
from revproxy.control.record_log import observe_twisted
from revproxy.errors import ConfigErrors
from revproxy.model.configuration import Configuration
from revproxy.net.reactor import install
from revproxy.settings import DEFAULT_CONFIG, load


@implementer(ILogObserver)
class LateObserver:
    """Takes Twisted's own log events before there is a log, and hands on what comes after."""

    observer: Any = None

    def __call__(self, event: LogEvent) -> None:
        """Take one event."""
        if self.observer is not None:
            self.observer(event)


_late = LateObserver()


def twisted_log() -> LateObserver:
    """What twistd's ``--logger`` names: Twisted's own log goes into the proxy's."""
    return _late


class Options(usage.Options):
    """Options of ``twistd revproxy`` and, by the same names, of ``revproxy run``."""

    synopsis = "[options]"
    longdesc = "Serve the sites of a configuration file."
    optParameters = [["config", "c", DEFAULT_CONFIG, "The configuration file."]]
    optFlags = [
        ["validate", None, "Check the configuration and its certificates, bind nothing, exit."],
        ["allow-wildcard-bind", None, "Allow bind_addr to be 0.0.0.0 or ::."],
    ]
    configuration: Configuration

    def opt_version(self) -> None:
        """Print the version and exit."""
        print(f"revproxy {revproxy.__version__}")  # noqa: T201
        sys.exit(0)

    def postOptions(self) -> None:
        """Read the configuration: a mistake in it ends the process before anything is bound."""
        hold_signals()
        self.configuration = read_configuration(self)
        if self.parent is not None and not self.parent["logger"]:
            # twistd would write its own format to standard output.
            self.parent["logger"] = f"{__name__}.twisted_log"


def config_path(options: Any) -> Path:
    """The file that ``options`` name, wherever the process goes; .. and links as they are."""
    return Path(options["config"]).absolute()


def reader(options: Any) -> Callable[[], Configuration]:
    """Reads what ``options`` name anew, with the same options."""
    path = config_path(options)
    wildcard = bool(options["allow-wildcard-bind"])
    return lambda: load(path, allow_wildcard_bind=wildcard)


def read_configuration(options: Any) -> Configuration:
    """The configuration that ``options`` name; prints every error and exits 1 if there is any.

    With ``--validate`` the certificates are loaded too, the verdict is printed, and exit is 0.
    """
    try:
        configuration = load(
            options["config"], allow_wildcard_bind=bool(options["allow-wildcard-bind"])
        )
        if options["validate"]:
            verdict, warnings = check(configuration, time.time())
            for warning in warnings:
                print(f"warning: {warning}", file=sys.stderr)  # noqa: T201
            print(verdict)  # noqa: T201
            sys.exit(0)
    except ConfigErrors as errors:
        print(errors, file=sys.stderr)  # noqa: T201
        sys.exit(1)
    return configuration


class TwistdProxy(Proxy):
    """The proxy under twistd, which would report a failed start with a traceback.

    Attributes:
        foreground: whether twistd stays in the foreground. A daemon's parent waits for its
            child's word, which twistd itself gives for an exception, but not for an exit.
        pid_file: what a failed start leaves behind otherwise.
    """

    foreground = True
    pid_file: str | None = None

    def privilegedStartService(self) -> None:
        """Bind; a failure is one line and exit status 1."""
        if self.foreground:
            or_exit(super().privilegedStartService, self.pid_file)
        else:
            super().privilegedStartService()


def _owner(twistd: Any) -> tuple[int, int] | None:
    """Whom the process will run as by twistd's options; -1 = as it does."""
    chosen = [None if twistd is None else twistd.get(name) for name in ("uid", "gid")]
    if chosen == [None, None]:
        return None
    user, group = (-1 if number is None else number for number in chosen)
    return user, group


def makeService(options: Options) -> TwistdProxy:
    """The proxy as one service, for twistd."""
    install()
    from twisted.internet import reactor  # noqa: PLC0415

    proxy = or_exit(
        lambda: TwistdProxy(
            options.configuration,
            reactor,
            read=reader(options),
            environ=os.environ,
            config_path=str(config_path(options)),
            owner=_owner(options.parent),
        )
    )
    if options.parent is not None:
        proxy.foreground = bool(options.parent["nodaemon"])
        proxy.pid_file = options.parent["pidfile"]
    _late.observer = observe_twisted(proxy.log)
    obey_signals(proxy, reactor)
    prepare(proxy, reactor)
    return proxy
