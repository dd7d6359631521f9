"""Which TLS connections are passed on as they are, and where to, by the name asked for (SNI).

Owns the decision between a backend and ending TLS here. Generic over what a backend is, so that
it stays pure. Refuses to know certificates, and what becomes of a name that stays here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

from revproxy.policy.routing import HostRoutes

T = TypeVar("T")


class SniRoutes(Generic[T]):
    """An immutable table of the names of one listener.

    Both kinds of names stand in one table, so that the nearest wins whichever kind it is of: an
    exact site within a wildcard that is passed through ends here, and the other way round.

    Args:
        passed: host names, lower-cased, or ``*.`` and a name; and the backend of each.
        ended: names likewise whose TLS is ended here: those of sites, and those that an authority
            may come for (RFC 8737).
        default: the backend of a name that is in neither; None: TLS is ended here, which refuses
            what no certificate covers.
        nameless_ended: a client that sends no name is served here (``default_site``), and not
            by ``default``.
    """

    __slots__ = ("_default", "_nameless", "_table")

    def __init__(
        self,
        passed: Iterable[tuple[str, T]],
        ended: Iterable[str] = (),
        default: T | None = None,
        *,
        nameless_ended: bool = False,
    ) -> None:
        here: tuple[T | None] = (None,)
        backends: list[tuple[str, tuple[T | None]]] = [(name, (to,)) for name, to in passed]
        self._table = HostRoutes([*((name, here) for name in ended), *backends])
        self._default = default
        self._nameless = None if nameless_ended else default

    def find(self, name: str) -> T | None:
        """The backend that a connection goes to, in time that does not depend on their number.

        Args:
            name: the server_name of its ClientHello, in normal form (RFC 6066 3); ``""`` for
                none.

        Returns:
            a backend; None when TLS is ended here.
        """
        if not name:
            return self._nameless
        found = self._table.find(name)
        return self._default if found is None else found[0]

    def __len__(self) -> int:
        """How many names it has, of both kinds."""
        return len(self._table)
