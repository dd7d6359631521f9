"""Sockets that the process was given already listening (socket activation, sd_listen_fds(3)).

Owns which descriptors those are, and which address belongs to which. Refuses to know what is
served on them.
"""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Callable, MutableMapping
from ipaddress import ip_address

FIRST_DESCRIPTOR = 3
"""The first one that is passed; the others follow it."""

_NUMBER = re.compile(r"[0-9]{1,6}")


class InheritedSockets:
    """The sockets that nobody has taken yet.

    Args:
        sockets: each listens.
        strange: names of what was passed and is none that listens.
    """

    def __init__(
        self, sockets: list[socket.socket] | None = None, strange: list[str] | None = None
    ) -> None:
        self._left = sockets or []
        self._strange = strange or []

    @classmethod
    def from_environment(
        cls, environ: MutableMapping[str, str], first: int = FIRST_DESCRIPTOR
    ) -> InheritedSockets:
        """As the variables say, if they are meant for this process; they are taken out.

        What is passed and does not listen is left as it is. (``twisted.python.systemd`` ignores
        descriptors without names, which only systemd gives.)
        """
        meant_for = environ.pop("LISTEN_PID", "")
        count = environ.pop("LISTEN_FDS", "")
        environ.pop("LISTEN_FDNAMES", None)
        if meant_for != str(os.getpid()) or not _NUMBER.fullmatch(count):
            return cls()
        sockets: list[socket.socket] = []
        strange: list[str] = []
        for descriptor in range(first, first + int(count)):
            try:
                listening = _adopted(descriptor)
            except OSError as error:
                strange.append(f"descriptor {descriptor} ({error.strerror})")
                if error.errno == errno.EBADF:
                    break  # nor are there any that would follow it
                continue
            if listening is None:
                strange.append(f"descriptor {descriptor} (does not listen)")
            else:
                sockets.append(listening)
        return cls(sockets, strange)

    def take_tcp(self, address: str, port: int) -> socket.socket | None:
        """The socket that listens on ``address`` and ``port``."""
        return self._take(lambda name: name == (address, port))

    def take_unix(self, path: str) -> socket.socket | None:
        """The socket that listens on the file ``path``."""
        return self._take(lambda name: name == path)

    def close_rest(self) -> list[str]:
        """Close what nobody has taken; returns the addresses, and what else was passed."""
        names = [_shown(_name(one)) for one in self._left] + self._strange
        while self._left:
            self._left.pop().close()
        self._strange = []
        return names

    def _take(self, is_wanted: Callable[[object], bool]) -> socket.socket | None:
        for one in self._left:
            if is_wanted(_name(one)):
                self._left.remove(one)
                return one
        return None


def _adopted(descriptor: int) -> socket.socket | None:
    """The socket of ``descriptor``, if connections can be accepted from it.

    Raises:
        OSError: it is no socket.
    """
    adopted = socket.socket(fileno=descriptor)
    listens = adopted.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if adopted.type != socket.SOCK_STREAM or not listens:
        adopted.detach()
        return None
    adopted.setblocking(False)
    adopted.set_inheritable(False)
    return adopted


def _name(one: socket.socket) -> object:
    """Where ``one`` listens: address and port, or a path."""
    name = one.getsockname()
    return (str(ip_address(name[0])), name[1]) if isinstance(name, tuple) else name


def _shown(name: object) -> str:
    if not isinstance(name, tuple):
        return str(name)
    address, port = name
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
