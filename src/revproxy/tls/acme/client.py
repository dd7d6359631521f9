"""The requests of RFC 8555 and RFC 9773, in the name of one account.

Owns which are made where, and how long something is waited for. Refuses to know what certificates
are for, how names are validated, and what is kept of it all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from ipaddress import ip_address
from typing import TypeVar

from cryptography import x509

from revproxy.tls.acme.jws import (
    AccountKey,
    Json,
    b64url,
    certificate_id,
    external_binding,
    key_change,
)
from revproxy.tls.acme.problem import PREFIX, AcmeProblem, CannotReach, Problem, harmless
from revproxy.tls.acme.reply import Reply
from revproxy.tls.acme.requests import Requests, document_of
from revproxy.tls.acme.resources import (
    Authorization,
    BadDocument,
    Challenge,
    Directory,
    Document,
    Order,
    RenewalWindow,
    authorization_of,
    directory_of,
    order_of,
    window_of,
)

T = TypeVar("T")

FRESH_SECS = 86400.0
"""How long a directory is used without asking again."""

FIRST_POLL_SECS = 0.25
"""Between the first two looks; it grows."""

MOST_POLL_SECS = 5.0
"""Between two looks, where the authority does not say."""

LONGEST_POLL_SECS = 60.0
"""Between two looks, where it does."""

MOST_ALTERNATES = 4


class Client:
    """See the module.

    Args:
        requests: carries them.
        directory_url: the authority's.
        key: the account's.
        account_url: the account; ``""`` while there is none.

    Attributes:
        key: as given, or what it was changed to.
        account_url: likewise.
    """

    def __init__(
        self, requests: Requests, directory_url: str, key: AccountKey, account_url: str = ""
    ) -> None:
        self._requests = requests
        self._directory_url = directory_url
        self._directory: Directory | None = None
        self._directory_until = 0.0
        self.key = key
        self.account_url = account_url

    @property
    def clock_skew(self) -> float | None:
        """Seconds by which the authority's clock is ahead of ours; None where it is not known."""
        return self._requests.clock_skew

    @property
    def now(self) -> float:
        """Seconds of the clock that waits are measured by."""
        return self._requests.now

    # Every method raises AcmeProblem when it is refused, and CannotReach when there is no answer
    # or one that makes no sense.

    async def directory(self) -> Directory:
        """Where things are asked for, as known for a day at most."""
        if self._directory is None or self._requests.now >= self._directory_until:
            reply = await self._requests.get(self._directory_url)
            self._directory = self._read(self._directory_url, reply, directory_of)
            self._directory_until = self._requests.now + FRESH_SECS
        return self._directory

    async def new_account(
        self,
        contact: Sequence[str] = (),
        eab: tuple[str, bytes] | None = None,
        *,
        terms_agreed: bool = True,
        only_existing: bool = False,
    ) -> str:
        """Make the account, or find the one that the key has; gives its URL (RFC 8555 7.3).

        Args:
            contact: URLs.
            eab: identifier and HMAC key of an external account.
            terms_agreed: whether the operator agrees to the terms of service.
            only_existing: make none.
        """
        directory = await self.directory()
        url = directory.new_account
        request: dict[str, object] = {"termsOfServiceAgreed": terms_agreed}
        if contact:
            request["contact"] = list(contact)
        if only_existing:
            request["onlyReturnExisting"] = True
        if eab is not None:
            request["externalAccountBinding"] = external_binding(self.key, *eab, url)
        reply = await self._requests.post(url, self.key, request, new_nonce=directory.new_nonce)
        if not reply.location:
            raise CannotReach(url, "gives no account URL")
        self.account_url = reply.location
        return reply.location

    async def update_contact(self, contact: Sequence[str]) -> None:
        """Tell the authority where it may write to (RFC 8555 7.3.2)."""
        await self._post(self.account_url, {"contact": list(contact)})

    async def change_key(self, new: AccountKey) -> None:
        """Use ``new`` from now on (RFC 8555 7.3.5)."""
        url = (await self.directory()).key_change
        await self._post(url, key_change(self.key, new, self.account_url, url))
        self.key = new

    async def new_order(
        self, names: Sequence[str], profile: str = "", replaces: str = ""
    ) -> Order:
        """Order a certificate (RFC 8555 7.4).

        Args:
            names: host names and IP addresses.
            profile: one that the authority offers.
            replaces: the identifier of the certificate that it is to replace (RFC 9773 5).
        """
        directory = await self.directory()
        request: dict[str, object] = {"identifiers": [_identifier(name) for name in names]}
        if profile and profile not in directory.profiles:
            offered = ", ".join(sorted(directory.profiles)) or "none"
            detail = f"has no profile {profile}, but {harmless(offered)}"
            raise AcmeProblem(Problem(f"{PREFIX}invalidProfile", detail))
        if profile:
            request["profile"] = profile
        if replaces and directory.renewal_info:
            request["replaces"] = replaces
        reply = await self._post(directory.new_order, request)
        if not reply.location:
            raise CannotReach(directory.new_order, "gives no order URL")
        return self._order(reply.location, reply)

    async def order(self, url: str) -> Order:
        """An order as it is now."""
        return self._order(url, await self._post(url, None))

    async def authorization(self, url: str) -> Authorization:
        """An authorization as it is now."""
        reply = await self._post(url, None)
        return self._read(url, reply, lambda document: authorization_of(url, document))

    async def answer(self, challenge: Challenge) -> None:
        """Say that the answer to ``challenge`` is there (RFC 8555 7.5.1)."""
        await self._post(challenge.url, {})

    async def deactivate_authorization(self, url: str) -> None:
        """Give up what was shown (RFC 8555 7.5.2)."""
        await self._post(url, {"status": "deactivated"})

    async def finalize(self, order: Order, csr_der: bytes) -> Order:
        """Ask for the certificate of an order that is ready."""
        reply = await self._post(order.finalize, {"csr": b64url(csr_der)})
        return self._order(order.url, reply)

    async def certificate(self, url: str) -> bytes:
        """The certificate and its chain, as PEM."""
        return (await self._post(url, None)).content

    async def chains(self, url: str) -> list[bytes]:
        """The certificate with each of the chains that there are, the usual one first."""
        reply = await self._post(url, None)
        others = [await self.certificate(one) for one in reply.alternates[:MOST_ALTERNATES]]
        return [reply.content, *others]

    async def revoke(self, certificate_der: bytes, reason: int = 0) -> None:
        """Revoke a certificate of this account (RFC 8555 7.6, reasons of RFC 5280 5.3.1)."""
        url = (await self.directory()).revoke
        await self._post(url, {"certificate": b64url(certificate_der), "reason": reason})

    async def renewal_window(self, certificate: x509.Certificate) -> RenewalWindow | None:
        """When the authority suggests to renew (RFC 9773 4); None where it has none."""
        directory, name = await self.directory(), certificate_id(certificate)
        if not directory.renewal_info or not name:
            return None
        url = f"{directory.renewal_info.rstrip('/')}/{name}"
        reply = await self._requests.get(url)
        try:
            return window_of(document_of(url, reply), reply.retry_after)
        except BadDocument:
            return None

    async def wait_authorization(self, url: str, seconds: float) -> Authorization:
        """An authorization once it is not pending any more, or as it is after ``seconds``."""
        until = self._requests.now + seconds
        wait = FIRST_POLL_SECS
        while True:
            reply = await self._post(url, None)
            found = self._read(url, reply, lambda document: authorization_of(url, document))
            if found.status != "pending" or self._requests.now >= until:
                return found
            wait = await self._between(wait, reply.retry_after, until)

    async def wait_order(self, url: str, statuses: Collection[str], seconds: float) -> Order:
        """An order once its status is among ``statuses``, or as it is after ``seconds``."""
        until = self._requests.now + seconds
        wait = FIRST_POLL_SECS
        while True:
            reply = await self._post(url, None)
            found = self._order(url, reply)
            if found.status in statuses or self._requests.now >= until:
                return found
            wait = await self._between(wait, reply.retry_after, until)

    async def _between(self, wait: float, asked: float | None, until: float) -> float:
        """Wait until the next look, the last at ``until``; gives how long to wait after it."""
        seconds = wait if asked is None else min(max(asked, 1.0), LONGEST_POLL_SECS)
        await self._requests.pause(min(seconds, until - self._requests.now))
        return min(wait * 1.5, MOST_POLL_SECS)

    async def _post(self, url: str, payload: Json | None) -> Reply:
        nonces = (await self.directory()).new_nonce
        return await self._requests.post(
            url, self.key, payload, account=self.account_url, new_nonce=nonces
        )

    def _order(self, url: str, reply: Reply) -> Order:
        return self._read(url, reply, lambda document: order_of(url, document))

    def _read(self, url: str, reply: Reply, read: Callable[[Document], T]) -> T:
        try:
            return read(document_of(url, reply))
        except BadDocument as error:
            raise CannotReach(url, f"answers with nonsense: {error}") from None


def _identifier(name: str) -> Json:
    try:
        ip_address(name)
    except ValueError:
        return {"type": "dns", "value": name}
    return {"type": "ip", "value": name}
