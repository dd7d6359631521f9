"""One order, from the names to the stored certificate (RFC 8555 7.4).

Owns the steps, that challenges are pending for as long as they have to be, and that an order which
a crash has interrupted is gone on with. Refuses to know when to order, and what to do when it
fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import field, frozen
from cryptography import x509

from revproxy.tls.acme.answering import Answering
from revproxy.tls.acme.client import Client
from revproxy.tls.acme.jws import certificate_id
from revproxy.tls.acme.pending import Challenge, PendingChallenges
from revproxy.tls.acme.problem import AcmeProblem, CannotReach, Problem
from revproxy.tls.acme.record import Record
from revproxy.tls.acme.resources import Authorization, Order
from revproxy.tls.acme.session import InThread
from revproxy.tls.acme.store import Entry, Store
from revproxy.tls.acme.validation import csr, new_key, normal_names

VALIDATION_SECS = 300.0
"""For all validations of an order."""

ISSUE_SECS = 300.0
"""For the certificate once the names are validated."""

LEAST_LIFE_SECS = 10.0
"""A certificate that is valid for less is of no use: its renewals would follow at once."""

RESUMED_TIMES = 4
"""Every so many failures in a row an order that is open is given up for a new one."""

CHALLENGES = ("tls-alpn-01", "http-01")


class NotIssuedError(Exception):
    """An order has failed.

    Args:
        problems: why, by the name that it is about; ``""`` where it is about no single name.

    Attributes:
        problems: as given.
    """

    def __init__(self, problems: Mapping[str, Problem]) -> None:
        told = [
            f"{name}: {problem}" if name else str(problem) for name, problem in problems.items()
        ]
        super().__init__("; ".join(told))
        self.problems = problems

    @property
    def names(self) -> frozenset[str]:
        """The names that stood in the way of the others."""
        return frozenset(filter(None, self.problems))

    @property
    def code(self) -> str:
        """Of the first problem (RFC 8555 6.7)."""
        return next(iter(self.problems.values())).code


@frozen(eq=False)
class Issue:
    """One attempt.

    Attributes:
        client: speaks for our account.
        store: where the certificate goes.
        pending: where its challenges go.
        answering: answers them.
        in_thread: calls what blocks.
        wall: seconds since 1970.
        names: what is ordered.
        challenge: which one is preferred.
        profile: ``""`` for the authority's choice.
    """

    client: Client
    store: Store
    pending: PendingChallenges
    answering: Answering
    in_thread: InThread = field(repr=False)
    wall: Callable[[], float] = field(repr=False)
    names: tuple[str, ...]
    challenge: str
    profile: str = ""

    async def run(self, record: Record, key_pem: bytes | None = None) -> Entry:
        """Get the certificate.

        Args:
            record: what is known; what is ordered replaces its certificate.
            key_pem: of its open order.

        Raises:
            NotIssuedError: a name could not be validated, or the order failed.
            AcmeProblem: the authority has refused something.
            CannotReach: it cannot be asked.
            OSError: something cannot be stored.
            ValueError: what it has issued cannot be used.
        """
        order = await self._open_order(record, key_pem)
        if order is None:
            order, record, key_pem = await self._new_order(record)
        assert key_pem is not None
        try:
            chain_pem = await self._certificate(order, key_pem)
            return await self._stored(record, key_pem, chain_pem)
        except (AcmeProblem, NotIssuedError, ValueError) as error:
            if not (isinstance(error, AcmeProblem) and error.problem.passes):
                # It would come to the same whenever it is gone on with.
                await self.in_thread(lambda: self.store.end_order(record))
            raise

    async def _stored(self, record: Record, key_pem: bytes, chain_pem: bytes) -> Entry:
        (leaf, *_) = x509.load_pem_x509_certificates(chain_pem)
        life = (leaf.not_valid_after_utc - leaf.not_valid_before_utc).total_seconds()
        if life < LEAST_LIFE_SECS:
            raise ValueError(f"the certificate is valid for {life:.0f} s only")
        now, replaces = self.wall(), certificate_id(leaf)
        entry: Entry = await self.in_thread(
            lambda: self.store.save_certificate(
                record, key_pem, chain_pem, now=now, replaces=replaces, names=self.names
            )
        )
        return entry

    async def _open_order(self, record: Record, key_pem: bytes | None) -> Order | None:
        """The order that an earlier attempt has left open, if it is good for anything."""
        given_up = record.failures % RESUMED_TIMES == RESUMED_TIMES - 1
        if not record.order_url or key_pem is None or given_up:
            return None
        try:
            order = await self.client.order(record.order_url)
            same = normal_names(order.identifiers) == self.names
        except (AcmeProblem, ValueError) as error:
            if isinstance(error, AcmeProblem) and error.problem.passes:
                raise
            return None
        except CannotReach:
            if record.failures:
                return None  # its host may be gone for good, while the directory has another
            raise
        usable = order.status in {"pending", "ready", "processing", "valid"}
        return order if usable and same else None

    async def _new_order(self, record: Record) -> tuple[Order, Record, bytes]:
        replaces = record.replaces
        try:
            order = await self.client.new_order(self.names, self.profile, replaces)
        except AcmeProblem as error:
            # Another account may have ordered it, or the authority has lost it (RFC 9773 5).
            if not replaces or error.problem.passes:
                raise
            order = await self.client.new_order(self.names, self.profile)
        key_pem = new_key()
        begun: Record = await self.in_thread(
            lambda: self.store.begin_order(record, order.url, key_pem)
        )
        return order, begun, key_pem

    async def _certificate(self, order: Order, key_pem: bytes) -> bytes:
        if order.status == "pending":
            await self._validate(order)
            done = {"ready", "processing", "valid", "invalid"}
            order = await self.client.wait_order(order.url, done, VALIDATION_SECS)
        if order.status == "ready":
            order = await self.client.finalize(order, csr(self.names, key_pem))
        if order.status != "valid":
            order = await self.client.wait_order(order.url, {"valid", "invalid"}, ISSUE_SECS)
        if order.status != "valid" or not order.certificate:
            raise NotIssuedError({"": order.error or _problem(f"the order is {order.status}")})
        return await self.client.certificate(order.certificate)

    async def _validate(self, order: Order) -> None:
        """Answer every challenge first, then wait for all: each may take its time."""
        found = [await self.client.authorization(url) for url in order.authorizations]
        waiting = [one for one in found if one.status == "pending"]
        problems = {
            one.name: _problem(f"the authorization is {one.status}")
            for one in found
            if one.status not in {"pending", "valid"}
        }
        pending: list[Challenge] = []
        try:
            for one in waiting:
                await self._answer(one, pending)
            until = self.client.now + VALIDATION_SECS
            for one in waiting:
                left = max(0.0, until - self.client.now)
                final = await self.client.wait_authorization(one.url, left)
                if final.status != "valid":
                    problems[one.name] = _why(final)
        finally:
            while pending:
                challenge = pending.pop()
                self.pending.remove(challenge)
                self.answering.forget(challenge)
        if problems:
            raise NotIssuedError(problems)

    async def _answer(self, authorization: Authorization, pending: list[Challenge]) -> None:
        offered = {one.type: one for one in authorization.challenges}
        kinds = [kind for kind in (self.challenge, *CHALLENGES) if kind in offered]
        if not kinds:
            words = ", ".join(sorted(offered)) or "none"
            raise NotIssuedError(
                {authorization.name: _problem(f"no challenge that is answered here, but {words}")}
            )
        chosen = offered[kinds[0]]
        challenge = Challenge(
            kind=kinds[0],  # type: ignore[arg-type]
            name=authorization.name,
            token=chosen.token,
            key_authorization=self.client.key.key_authorization(chosen.token),
        )
        pending.append(challenge)
        await self.in_thread(lambda: self._add(challenge, pending))
        await self.client.answer(chosen)

    def _add(self, challenge: Challenge, pending: list[Challenge]) -> None:
        """In a thread, which goes on where whoever waits for it is cancelled."""
        self.pending.add(challenge)
        if challenge not in pending:
            self.pending.remove(challenge)


def _why(authorization: Authorization) -> Problem:
    """What has made an authorization invalid."""
    errors = [one.error for one in authorization.challenges if one.error is not None]
    return errors[0] if errors else _problem(f"the authorization is {authorization.status}")


def _problem(detail: str) -> Any:
    return Problem(type="", detail=detail, status=0)
