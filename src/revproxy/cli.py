"""The ``revproxy`` command: run, validate, demo, version, and what asks a running proxy.

Owns the command line. Refuses to know how anything is done. What a command alone needs it imports
itself: a question to a running proxy takes less time than Twisted does to be imported.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from attrs import frozen

import revproxy
from revproxy.control.admin.client import NoAnswerError, ask
from revproxy.control.admin.text import shown
from revproxy.control.early_signals import hold_signals
from revproxy.settings import DEFAULT_CONFIG
from revproxy.settings.admin_path import admin_path


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that ``arguments`` (by default the process's) name."""
    options = _parser().parse_args(arguments)
    options.run(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="revproxy", description=revproxy.__doc__.splitlines()[0])
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="serve in the foreground")
    run.set_defaults(run=_run)
    validate = commands.add_parser("validate", help="check a configuration, bind nothing")
    validate.set_defaults(run=_validate)
    for command in (run, validate):
        _add_config(command, "the configuration")
        command.add_argument(
            "--allow-wildcard-bind", action="store_true", help="allow 0.0.0.0 and ::"
        )
    run.add_argument("--validate", action="store_true", help="as the command validate")
    demo = commands.add_parser("demo", help="serve two sites to try, with their own upstream")
    demo.set_defaults(run=_demo)
    _add_admin_commands(commands)
    version = commands.add_parser("version", help="print the version")
    version.set_defaults(run=lambda options: print(_version()))  # noqa: T201
    return parser


def _add_config(command: Any, meaning: str) -> None:
    text = f"{meaning} (default: {DEFAULT_CONFIG})"
    command.add_argument("-c", "--config", default=DEFAULT_CONFIG, metavar="FILE", help=text)


_ADMIN_COMMANDS = {
    "reload": "let the running proxy read its configuration again, and serve it if it is valid",
    "status": "show what the running proxy serves, and how it is",
    "sites": "list the sites of the running proxy",
    "certs": "list its certificates, those that expire first coming first",
    "connections": "list its open connections",
    "reopen-logs": "let it open its log files again, after they were renamed",
    "drain": "let it finish what is under way, and end",
}

_SOCKET = "its admin socket; FILE does not matter then"

_ACTING = {"reload", "reopen-logs", "drain", "renew"}
"""The commands that must not reach another proxy than the one that is meant."""


def _add_admin_commands(commands: Any) -> None:
    for name, text in _ADMIN_COMMANDS.items():
        command = commands.add_parser(name, help=text)
        command.set_defaults(run=_ask, words=[name])
        _add_config(command, "its configuration, which names its admin socket")
        command.add_argument("--socket", metavar="PATH", help=_SOCKET)
        command.add_argument("--json", action="store_true", help="the reply as it is")
        if name == "reload":
            command.add_argument("--diff", action="store_true", help="only show what would change")
        elif name == "certs":
            _add_renew(command)


def _add_renew(certs: Any) -> None:
    """``certs renew``; what is said before ``renew`` holds where it is not said after it."""
    actions = certs.add_subparsers(metavar="renew")
    renew = actions.add_parser(
        "renew", help="get an automatic one anew, now", argument_default=argparse.SUPPRESS
    )
    renew.set_defaults(words=["certs", "renew"])
    renew.add_argument("name", metavar="NAME", help="a name that it is for")
    renew.add_argument(
        "--dry-run",
        action="store_true",
        help="order one that is not served: from staging where production is configured",
    )
    renew.add_argument("-c", "--config", metavar="FILE", help="as of certs")
    renew.add_argument("--socket", metavar="PATH", help=_SOCKET)
    renew.add_argument("--json", action="store_true", help="the reply as it is")


def _command(options: argparse.Namespace) -> str:
    """What is sent to the admin socket."""
    chosen = [f"--{name.replace('_', '-')}" for name in ("diff", "dry_run") if name in options]
    flags = [flag for flag in chosen if getattr(options, flag[2:].replace("-", "_"))]
    return " ".join([*options.words, *flags, *([options.name] if "name" in options else [])])


def _ask(options: argparse.Namespace) -> None:
    command = _command(options)
    try:
        path = options.socket
        if path is None:
            path = _socket_of(options.config)
            if _ACTING.intersection(options.words):
                _see_that_it_serves(path, options.config)
        reply = ask(path, command)
    except NoAnswerError as error:
        print(error, file=sys.stderr)  # noqa: T201
        sys.exit(1)
    ok = reply.get("status") == "ok"
    text = json.dumps(reply) if options.json else shown(command, reply)
    try:
        print(text, file=sys.stdout if ok or options.json else sys.stderr, flush=True)
    except BrokenPipeError:  # as by head; the interpreter would complain at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(0 if ok else 1)


def _socket_of(config: str) -> str:
    """The admin socket of a configuration file.

    Raises:
        NoAnswerError: the file cannot be read, or there is none.
    """
    try:
        path = admin_path(config)
    except OSError as error:
        reason = f"cannot be read: {error.strerror} (--socket names the admin socket itself)"
        raise NoAnswerError(f"{config}: {reason}") from None
    if not path:
        raise NoAnswerError(f"{config}: admin_socket_path is off")
    return path


def _see_that_it_serves(socket: str, config: str) -> None:
    """See that whoever listens at ``socket`` serves the file ``config``.

    Raises:
        NoAnswerError: it serves another, or there is nobody.
    """
    served = ask(socket, "status").get("config")
    if served is not None and os.path.realpath(served) != os.path.realpath(config):
        what = served or "no file"
        raise NoAnswerError(
            f"the proxy at {socket} serves {what}, not {config}: nothing was done "
            "(--socket names it all the same)"
        )


def _version() -> str:
    return f"revproxy {revproxy.__version__}"


@frozen
class _Choices:
    """Options by the names that twistd's have."""

    options: argparse.Namespace
    validate: bool

    def __getitem__(self, name: str) -> Any:
        if name == "validate":
            return self.validate
        return getattr(self.options, name.replace("-", "_"))


def _run(options: argparse.Namespace) -> None:
    hold_signals()
    from revproxy.net.reactor import install  # noqa: PLC0415
    from revproxy.tap import config_path, read_configuration, reader  # noqa: PLC0415

    choices = _Choices(options, options.validate)
    configuration = read_configuration(choices)
    install()
    from twisted.internet import reactor  # noqa: PLC0415

    from revproxy.control.process import or_exit, run  # noqa: PLC0415
    from revproxy.control.proxy import Proxy  # noqa: PLC0415

    proxy = or_exit(
        lambda: Proxy(
            configuration,
            reactor,
            read=reader(choices),
            environ=os.environ,
            config_path=str(config_path(choices)),
        )
    )
    run(proxy, reactor)


def _validate(options: argparse.Namespace) -> None:
    from revproxy.tap import read_configuration  # noqa: PLC0415

    read_configuration(_Choices(options, True))


def _demo(options: argparse.Namespace) -> None:
    from revproxy.net.reactor import install  # noqa: PLC0415

    install()
    from twisted.internet import reactor  # noqa: PLC0415

    from revproxy.control.demo import demo_setup  # noqa: PLC0415
    from revproxy.control.process import or_exit, run  # noqa: PLC0415
    from revproxy.control.proxy import Proxy  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="revproxy-demo-") as directory:
        demo = demo_setup(reactor, directory)
        proxy = or_exit(lambda: Proxy(demo.configuration, reactor))
        demo.upstream.setServiceParent(proxy)
        run(proxy, reactor, lambda: print(demo.text, flush=True), hangup_ends=True)  # noqa: T201
        sys.exit(0)


if __name__ == "__main__":
    main()
