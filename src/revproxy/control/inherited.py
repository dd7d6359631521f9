"""Sockets that the process was given already listening (socket activation, sd_listen_fds(3)).

Owns which descriptors those are, and which address belongs to which. Refuses to know what is
served on them.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, MutableMapping
from ipaddress import ip_address

FIRST_DESCRIPTOR = 3
"""The first one that is passed; the others follow it."""


class InheritedSockets:
    """The sockets that nobody has taken yet.

    Args:
        sockets: each listens.
    """

    def __init__(self, sockets: list[socket.socket] | None = None) -> None:
        self._left = sockets or []

    @classmethod
    def from_environment(
        cls, environ: MutableMapping[str, str], first: int = FIRST_DESCRIPTOR
    ) -> InheritedSockets:
        """As the variables say, if they are meant for this process; they are taken out.

        (``twisted.python.systemd`` ignores descriptors without names, which only systemd gives.)
        """
        meant_for = environ.pop("LISTEN_PID", "")
        count = environ.pop("LISTEN_FDS", "")
        environ.pop("LISTEN_FDNAMES", None)
        if meant_for != str(os.getpid()) or not count.isascii() or not count.isdigit():
            return cls()
        return cls([_adopted(first + index) for index in range(int(count))])

    def take_tcp(self, address: str, port: int) -> socket.socket | None:
        """The socket that listens on ``address`` and ``port``."""
        return self._take(lambda name: name == (address, port))

    def take_unix(self, path: str) -> socket.socket | None:
        """The socket that listens on the file ``path``."""
        return self._take(lambda name: name == path)

    def close_rest(self) -> list[str]:
        """Close what nobody has taken; returns the addresses."""
        rest, self._left = self._left, []
        names = [str(_name(one)) for one in rest]
        for one in rest:
            one.close()
        return names

    def _take(self, is_wanted: Callable[[object], bool]) -> socket.socket | None:
        for one in self._left:
            if is_wanted(_name(one)):
                self._left.remove(one)
                return one
        return None


def _adopted(descriptor: int) -> socket.socket:
    adopted = socket.socket(fileno=descriptor)
    adopted.setblocking(False)
    adopted.set_inheritable(False)
    return adopted


def _name(one: socket.socket) -> object:
    """Where ``one`` listens: address and port, or a path."""
    name = one.getsockname()
    return (str(ip_address(name[0])), name[1]) if isinstance(name, tuple) else name
