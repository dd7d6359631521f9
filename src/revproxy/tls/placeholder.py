"""What is served for names that no certificate has been issued for yet.

Owns the self-signed identities that stand in. Refuses to know what is wanted instead of them.
"""

from __future__ import annotations

from hashlib import sha256
from weakref import WeakValueDictionary

from revproxy.model.tls import Identity
from revproxy.tls.contexts import HTTP, server_context
from revproxy.tls.self_signed import self_signed

LIFE_DAYS = 365


class Placeholders:
    """The placeholders in use, in memory alone, one for each set of names."""

    def __init__(self) -> None:
        self._made: WeakValueDictionary[tuple[object, ...], Identity] = WeakValueDictionary()

    def get(
        self,
        names: tuple[str, ...],
        *,
        now: float,
        source: str,
        alpn: tuple[str, ...] = HTTP,
        session_tickets: bool = True,
    ) -> Identity:
        """The placeholder for ``names``.

        Args:
            names: host names.
            now: seconds since 1970.
            source: the file that the certificate will be in.
            alpn: the protocols to accept, best first.
            session_tickets: whether sessions are resumed by tickets.
        """
        key = (names, source, alpn, session_tickets)
        identity = self._made.get(key)
        if identity is None or identity.not_after < now:
            chain_pem, key_pem = self_signed(names, now=now, days=LIFE_DAYS)
            identity = Identity(
                context=server_context(
                    chain_pem, key_pem, alpn=alpn, session_tickets=session_tickets
                ),
                exact=frozenset(names),
                wildcards=frozenset(),
                name=names[0],
                issuer="self-signed, until one is issued",
                not_after=now + LIFE_DAYS * 86400,
                source=source,
                made=now,
                content=sha256(chain_pem).digest(),
                automatic=True,
                placeholder=True,
            )
            self._made[key] = identity
        return identity
