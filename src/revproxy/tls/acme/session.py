"""An authority and our account with it, shared by all certificates that it is to issue.

Owns when the account is made and when it is asked for again. Refuses to know orders.
"""

from __future__ import annotations

import os
import re
import stat
from base64 import urlsafe_b64decode
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.defer import DeferredLock

from revproxy.model.configuration import ExternalAccount
from revproxy.tls.acme.accounts import Account, Accounts
from revproxy.tls.acme.client import Client
from revproxy.tls.acme.files import writable_by_others
from revproxy.tls.acme.jws import AccountKey
from revproxy.tls.acme.problem import AcmeProblem
from revproxy.tls.acme.requests import Requests
from revproxy.tls.acme.resources import Order
from revproxy.tls.acme.roots import read_roots
from revproxy.tls.acme.wanted import Authority
from revproxy.tls.pem import Version, file_version

InThread = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Calls something that blocks on the disk."""

MOST_MAC_BYTES = 4096
"""Of the file with the HMAC key of an external account."""

_MAC = re.compile(rb"[A-Za-z0-9_-]{8,1024}={0,2}")


class _Client(Client):
    """Makes an account anew that the authority has lost, where an order shows that it has."""

    register: Callable[[], Awaitable[None]]

    async def new_order(
        self, names: Sequence[str], profile: str = "", replaces: str = ""
    ) -> Order:
        try:
            return await super().new_order(names, profile, replaces)
        except AcmeProblem as error:
            if error.problem.code != "accountDoesNotExist":
                raise
        await self.register()
        return await super().new_order(names, profile, replaces)


class Session:
    """See the module.

    Args:
        authority: who, and where the account is kept.
        make_requests: makes what the client speaks through.
        in_thread: calls what blocks.
        report: told in a sentence of a file that was put aside or is ignored.
    """

    def __init__(
        self,
        authority: Authority,
        make_requests: Callable[[Authority], Requests],
        in_thread: InThread,
        report: Callable[[str], None],
    ) -> None:
        self._authority = authority
        self._make_requests = make_requests
        self._in_thread = in_thread
        self._report = report
        self._accounts = Accounts(authority.cache_dir, report)
        self._lock = DeferredLock()
        self._requests: Requests | None = None
        self._roots: Version = None
        self._client: Client | None = None

    async def client(self) -> Client:
        """Speaks for our account, which is made where there is none.

        Raises:
            AcmeProblem: the authority makes no account.
            CannotReach: it cannot be asked.
            OSError: a file cannot be read or written.
            ValueError: a file cannot be used.
        """
        await self._lock.acquire()
        try:
            await self._read_roots()
            if self._client is None:
                self._client = await self._registered()
            return self._client
        finally:
            self._lock.release()

    async def forget_account(self) -> None:
        """The authority does not know the account: ask for it, or make it anew, the next time."""
        self._client = None
        await self._in_thread(lambda: self._accounts.forget_kid(self._authority.directory))

    async def close(self) -> None:
        """Close the connections."""
        requests, self._requests, self._client = self._requests, None, None
        if requests is not None:
            await requests.close()

    async def _read_roots(self) -> None:
        """Speak to the authority by the roots that are in their file now."""
        file = self._authority.ca_file
        version = await self._in_thread(lambda: file_version(file)) if file else None
        if self._requests is not None and version == self._roots:
            return
        try:
            requests = await self._in_thread(lambda: self._make_requests(self._authority))
        except (OSError, ValueError) as error:
            if self._requests is None:
                raise
            self._report(f"the roots of {self._authority.directory} stay as they were: {error}")
        else:
            await self.close()
            self._requests = requests
        self._roots = version

    async def _registered(self) -> Client:
        directory = self._authority.directory
        assert self._requests is not None
        account: Account = await self._in_thread(self._account)
        key = AccountKey.from_pem(account.key_pem)
        client = _Client(self._requests, directory, key, account.kid)
        client.register = partial(self._register, client, account)
        contact = (self._authority.contact,) if self._authority.contact else ()
        if not account.kid:
            await client.register()
        elif account.contact != contact:
            try:
                await client.update_contact(contact)
            except AcmeProblem as error:  # certificates are worth more
                self._report(f"{directory} does not take {', '.join(contact)}: {error}")
            else:
                await self._in_thread(
                    lambda: self._accounts.save_kid(account, account.kid, contact)
                )
        return client

    async def _register(self, client: Client, account: Account) -> None:
        """Make the account, or ask for the one that the key has, and remember its URL."""
        contact = (self._authority.contact,) if self._authority.contact else ()
        bound = self._authority.eab
        eab = None if bound is None else await self._in_thread(lambda: _external(bound))
        kid = await client.new_account(contact, eab)
        await self._in_thread(lambda: self._accounts.save_kid(account, kid, contact))

    def _account(self) -> Account:
        """The account as it is kept; the key of a new one is on disk before it is used."""
        directory = self._authority.directory
        account = self._accounts.load(directory)
        if account is not None:
            return account
        try:
            return self._accounts.save_key(directory, AccountKey.generate().pem())
        except FileExistsError:  # another process was faster: the account is for both
            account = self._accounts.load(directory)
            if account is None:
                raise
            return account


def check_authority(authority: Authority) -> Iterator[tuple[str, str]]:
    """What would stop every order: the key of the setting, and what is wrong with it.

    The cache directory is not made: that is for the process which is going to use it.
    """
    checks: dict[str, Callable[[], object]] = {
        "acme_cache_dir": lambda: _see_that_writable(authority.cache_dir),
        "acme_ca_file": lambda: authority.ca_file and read_roots(authority.ca_file),
        "acme_eab": lambda: authority.eab and _external(authority.eab),
    }
    for key, check in checks.items():
        try:
            check()
        except OSError as error:
            yield key, f"{error.filename} cannot be used: {error.strerror}"
        except ValueError as error:
            yield key, str(error)


def _see_that_writable(cache_dir: Path) -> None:
    """See that the directory is ours to write in, or can be made.

    Raises:
        ValueError: it is not.
    """
    there = next(path for path in (cache_dir, *cache_dir.parents) if os.path.lexists(path))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"{there} is no directory that may be written in")
    for folder in writable_by_others(cache_dir, stat.S_IWOTH):
        # What lies there is taken for our own: anybody could answer challenges for our names.
        raise ValueError(f"{folder} may be written in by every user: chmod go-w")


def remarks_on(authority: Authority) -> Iterator[str]:
    """What stops no order but should be mended, in sentences."""
    for folder in writable_by_others(authority.cache_dir):
        yield f"{folder} may be written in by its group: chmod g-w, unless it is trusted"


def _external(account: ExternalAccount) -> tuple[str, bytes]:
    """The identifier and the HMAC key of an external account.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds no key; no byte of it is told.
    """
    with Path(account.hmac_key_file).open("rb") as file:
        content = file.read(MOST_MAC_BYTES).strip()
    bare = content.rstrip(b"=")
    if not _MAC.fullmatch(content) or len(bare) % 4 == 1:  # no number of bytes is so long
        raise ValueError(f"{account.hmac_key_file} holds no HMAC key in base64url")
    return account.key_id, urlsafe_b64decode(bare + b"=" * (-len(bare) % 4))
