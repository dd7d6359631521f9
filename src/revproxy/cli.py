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
        command.add_argument("-c", "--config", default=DEFAULT_CONFIG, metavar="FILE")
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


_ADMIN_COMMANDS = {
    "reload": "read the configuration again, and serve it if it is valid",
    "status": "what a running proxy serves, and how it is",
    "sites": "its sites",
    "certs": "its certificates, and until when they are valid",
    "connections": "its open connections",
    "reopen-logs": "let it open its log files again, after they were renamed",
    "drain": "let it finish what is under way, and end",
}


def _add_admin_commands(commands: Any) -> None:
    for name, text in _ADMIN_COMMANDS.items():
        command = commands.add_parser(name, help=text)
        command.set_defaults(run=_ask, command=name)
        command.add_argument("-c", "--config", default=DEFAULT_CONFIG, metavar="FILE")
        command.add_argument(
            "--socket", metavar="PATH", help="its admin socket, where FILE does not name it"
        )
        command.add_argument("--json", action="store_true", help="the reply as it is")
        if name == "reload":
            command.add_argument("--diff", action="store_true", help="only show what would change")


def _ask(options: argparse.Namespace) -> None:
    command = f"{options.command} --diff" if getattr(options, "diff", False) else options.command
    try:
        named: str | None = options.socket
        reply = ask(_socket_of(options.config) if named is None else named, command)
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
    from revproxy.tap import read_configuration, reader  # noqa: PLC0415

    choices = _Choices(options, options.validate)
    configuration = read_configuration(choices)
    install()
    from twisted.internet import reactor  # noqa: PLC0415

    from revproxy.control.process import or_exit, run  # noqa: PLC0415
    from revproxy.control.proxy import Proxy  # noqa: PLC0415

    read = reader(choices)
    run(or_exit(lambda: Proxy(configuration, reactor, read=read, environ=os.environ)), reactor)


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
