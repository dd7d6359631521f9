"""Which identity a handshake goes on with.

Owns the decision from the name in a ClientHello. Refuses to know files, handshakes and sites'
routes.
"""

from __future__ import annotations

from collections.abc import Iterable

from revproxy.model.configuration import Site
from revproxy.model.tls import UNRECOGNIZED_NAME, Alert, ClientHello, Identity


class Selection:
    """A listener's choice among its identities, a :class:`~revproxy.model.seams.ChooseIdentity`.

    A name in full wins over a wildcard; among identities that cover a name alike, the first one
    wins. Nobody is ever served a certificate that does not cover the name asked for. One or two
    dict look-ups a handshake, however many names there are.
    """

    __slots__ = ("_exact", "_unnamed", "_wildcards")

    def __init__(self, identities: Iterable[Identity], default_site: str | None = None) -> None:
        """Index ``identities``, given in file order.

        Args:
            identities: what the listener may serve.
            default_site: the host whose identity serves hellos without a name; ``None`` refuses
                them.
        """
        self._exact: dict[str, Identity] = {}
        self._wildcards: dict[str, Identity] = {}
        for identity in identities:
            for name in identity.exact:
                self._exact.setdefault(name, identity)
            for name in identity.wildcards:
                self._wildcards.setdefault(name, identity)
        self._unnamed: Identity | Alert = Alert(UNRECOGNIZED_NAME, "no server name was sent")
        if default_site is not None:
            self._unnamed = self._named(default_site)

    def __call__(self, hello: ClientHello) -> Identity | Alert:
        """The identity for the name in ``hello``, or the alert that says nothing covers it."""
        return self._named(hello.server_name) if hello.server_name else self._unnamed

    def _named(self, host: str) -> Identity | Alert:
        identity = self._exact.get(host) or self._wildcards.get(host.partition(".")[2])
        return identity or Alert(UNRECOGNIZED_NAME, f"no certificate covers {host}")


def uncovered_hosts(sites: Iterable[Site], identities: Iterable[Identity]) -> list[str]:
    """The host of every site that no identity covers, in the sites' order.

    A wildcard site is covered by the same wildcard only.
    """
    exact: set[str] = set()
    wildcards: set[str] = set()
    for identity in identities:
        exact |= identity.exact
        wildcards |= identity.wildcards
    return [
        site.host
        for site in sites
        if site.host not in exact and site.host.partition(".")[2] not in wildcards
    ]
