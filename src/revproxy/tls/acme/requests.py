"""Signed requests: nonces, who signs, and what comes back as a document or a problem.

Owns RFC 8555 6.2-6.7, including that a nonce which was not accepted is replaced and the request
made again. Refuses to know what is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from revproxy.tls.acme.jws import AccountKey, Json
from revproxy.tls.acme.problem import AcmeProblem, CannotReach, read_problem
from revproxy.tls.acme.reply import Reply
from revproxy.tls.acme.wanted import Authority

if TYPE_CHECKING:
    from revproxy.tls.acme.channel import Channel

MOST_TRIES = 8
"""Of one request, whose nonces are not accepted."""

MOST_NONCES = 20
"""That are kept."""

NONCE_PAUSE_SECS = 0.2
"""About so long is waited before a request is made again."""

JOSE = "application/jose+json"


class Requests:
    """Requests to one authority.

    Args:
        channel: carries them.
        reactor: for pauses.
        wall: seconds since 1970.
        random: a number from 0 to 1.

    Attributes:
        clock_skew: seconds by which the authority's clock is ahead of ours; None before it has
            said anything.
    """

    def __init__(
        self,
        channel: Channel,
        reactor: Any,
        wall: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._channel = channel
        self._reactor = reactor
        self._wall = wall
        self._random = random
        self._nonces: list[str] = []
        self.clock_skew: float | None = None

    async def get(self, url: str) -> Reply:
        """Ask for something that is for everybody.

        Raises:
            AcmeProblem: it is refused.
            CannotReach: it cannot be asked for.
        """
        return self._passed(await self._asked("GET", url))

    async def post(
        self,
        url: str,
        key: AccountKey,
        payload: Json | None,
        *,
        account: str = "",
        new_nonce: str,
    ) -> Reply:
        """Ask for something in an account's name.

        Args:
            url: what.
            key: signs.
            payload: the request; None is POST-as-GET.
            account: the account's URL; without one the key says who asks.
            new_nonce: where a nonce is to be had.

        Raises:
            AcmeProblem: it is refused.
            CannotReach: it cannot be asked for.
        """
        who: Json = {"kid": account} if account else {"jwk": key.jwk}
        for tries in range(MOST_TRIES):
            nonce = self._nonces.pop() if self._nonces else await self._new_nonce(new_nonce)
            body = key.sign({**who, "nonce": nonce, "url": url}, payload)
            reply = await self._asked("POST", url, body, JOSE)
            if not _is_bad_nonce(reply) or tries == MOST_TRIES - 1:
                break
            self._nonces[:-1] = []  # the others are as old, and the last one came with the refusal
            await self._pause(NONCE_PAUSE_SECS * (0.5 + self._random()) * tries)
        return self._passed(reply)

    async def close(self) -> None:
        """Close the connections."""
        await self._channel.close()

    async def pause(self, seconds: float) -> None:
        """Wait."""
        await self._pause(seconds)

    def _pause(self, seconds: float) -> Deferred[None]:
        call: Any = None
        pausing: Deferred[None] = Deferred(lambda _: call.cancel())
        call = self._reactor.callLater(seconds, pausing.callback, None)
        return pausing

    @property
    def now(self) -> float:
        """Seconds of a monotonic clock."""
        seconds: float = self._reactor.seconds()
        return seconds

    async def _new_nonce(self, url: str) -> str:
        reply = await self._asked("HEAD", url)
        if not self._nonces:
            self._passed(reply)  # one that is overloaded may say when to come again
            raise CannotReach(url, f"gives no nonce (HTTP {reply.status})")
        return self._nonces.pop()

    async def _asked(
        self, method: str, url: str, body: bytes | None = None, kind: str = ""
    ) -> Reply:
        reply = await self._channel.request(method, url, body, kind)
        if reply.nonce:
            self._nonces = [*self._nonces[1 - MOST_NONCES :], reply.nonce]
        if reply.date is not None:
            self.clock_skew = reply.date - self._wall()
        return reply

    def _passed(self, reply: Reply) -> Reply:
        if not 200 <= reply.status < 300:
            raise AcmeProblem(read_problem(reply.content, reply.status, reply.retry_after))
        return reply


def document_of(url: str, reply: Reply) -> Mapping[str, object]:
    """The JSON object in a reply.

    Raises:
        CannotReach: there is none.
    """
    try:
        document = json.loads(reply.content)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise CannotReach(url, f"answers with no JSON object (HTTP {reply.status})")
    return document


def authority_requests(
    reactor: Any,
    wall: Callable[[], float],
    random: Callable[[], float],
    authority: Authority,
) -> Requests:
    """Requests to ``authority`` over connections of their own.

    Raises:
        OSError: its roots cannot be read.
        ValueError: they are none.
    """
    # Not sooner: what it imports takes the sockets that a service manager has passed out of the
    # environment (twisted.internet.endpoints does, when it is imported).
    from revproxy.tls.acme.channel import https_channel  # noqa: PLC0415

    channel = https_channel(reactor, wall, authority.ca_file)
    return Requests(channel, reactor, wall, random)


def _is_bad_nonce(reply: Reply) -> bool:
    return reply.status == 400 and read_problem(reply.content, 400).code == "badNonce"
