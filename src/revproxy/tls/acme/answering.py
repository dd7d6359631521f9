"""What an authority meets that comes to validate a name: the answers to its challenges.

Owns the identities for TLS-ALPN-01 and the body for HTTP-01, for every cache directory in use.
Refuses to know listeners, and who has ordered.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from revproxy.model.seams import ChooseIdentity
from revproxy.model.tls import Alert, ClientHello, Identity
from revproxy.tls.acme.pending import Challenge, PendingChallenges
from revproxy.tls.acme.validation import ACME_TLS, HTTP_PREFIX, alpn_context

NO_APPLICATION_PROTOCOL = 120
"""TLS alert: no protocol in common (RFC 7301 3.2)."""

_ACME_TLS = ACME_TLS.encode()
_HTTP_PREFIX = HTTP_PREFIX.encode()
_NOT_PENDING = Alert(NO_APPLICATION_PROTOCOL, "acme-tls/1, and nothing is pending for the name")


class Answering:
    """See the module.

    Args:
        wall: seconds since 1970.
    """

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._pending: dict[Path, PendingChallenges] = {}
        self._identities: dict[str, tuple[Challenge, Identity]] = {}

    def pending(self, cache_dir: Path) -> PendingChallenges:
        """The challenges of ``cache_dir``, which are answered from now on."""
        found = self._pending.get(cache_dir)
        if found is None:
            found = self._pending[cache_dir] = PendingChallenges(cache_dir / "pending", self._wall)
        return found

    def keep(self, cache_dirs: set[Path]) -> None:
        """Answer the challenges of ``cache_dirs`` and of no other."""
        for cache_dir in self._pending.keys() - cache_dirs:
            del self._pending[cache_dir]
        for cache_dir in cache_dirs:
            self.pending(cache_dir)

    def http(self, path: bytes) -> bytes | None:
        """A :data:`~revproxy.model.seams.AnswerChallenge`."""
        if not path.startswith(_HTTP_PREFIX):
            return None
        token = path[len(_HTTP_PREFIX) :]
        for pending in self._pending.values():
            authorization = pending.http(token)
            if authorization is not None:
                return authorization
        return None

    def before(self, choose: ChooseIdentity) -> ChooseIdentity:
        """``choose``, but validations are answered first, where there can be any."""
        return partial(self._choose, choose) if self._pending else choose

    def _choose(self, choose: ChooseIdentity, hello: ClientHello) -> Identity | Alert:
        if _ACME_TLS not in hello.alpn:
            return choose(hello)
        # Who offers it offers nothing else (RFC 8737 3), and is served no other certificate.
        for pending in self._pending.values():
            challenge = pending.tls(hello.server_name)
            if challenge is not None:
                return self._identity(hello.server_name, challenge)
        self._identities.pop(hello.server_name, None)
        return _NOT_PENDING

    def _identity(self, name: str, challenge: Challenge) -> Identity:
        """Made once for a challenge: authorities come from several places at once."""
        made = self._identities.get(name)
        if made is not None and made[0] == challenge:
            return made[1]
        context = alpn_context(challenge.name, challenge.key_authorization, now=self._wall())
        identity = Identity(context, frozenset((name,)), frozenset(), name, validates=True)
        self._identities[name] = challenge, identity
        return identity

    def forget(self, challenge: Challenge) -> None:
        """``challenge`` is over: let go of what was made for it."""
        self._identities.pop(challenge.key, None)
