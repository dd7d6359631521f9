"""Accounts at certificate authorities, on disk.

Owns which key and which account URL belong to a directory URL and to each other, and the order of
writes that loses neither in a crash: a key is on disk before the CA hears of it. Refuses to know
the protocol. No message contains a byte of a key.

Everything blocks on the disk.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from attrs import evolve, field, frozen
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from revproxy.tls.acme.files import (
    create_private,
    encode_object,
    parse_object,
    put_aside,
    read_private,
    remove,
    remove_unfinished,
    synchronise_directory,
    write_private,
)
from revproxy.tls.acme.jws import AccountKey

MAX_KEY_BYTES = 16 * 1024
"""The largest key file that is read; RSA of 4096 bits takes 3 KiB."""

MAX_ACCOUNT_BYTES = 64 * 1024
"""The largest ``account.json`` that is read."""

_UNSAFE = re.compile(r"[^a-z0-9.-]")


@frozen
class Account:
    """What is known of the account at one CA.

    Attributes:
        directory: the URL of the CA's directory (RFC 8555 7.1.1).
        key_pem: the private key; never in a ``repr``.
        kid: the account's URL (RFC 8555 7.1.2); ``""`` when the CA has to be asked for it:
            newAccount with a known key tells the account that there is (RFC 8555 7.3.1).
        contact: contact URLs that the CA was given.
        next_key_pem: the key that a rollover was begun with and that may be the account's by
            now (RFC 8555 7.3.5): whoever finds one tries both.
    """

    directory: str
    key_pem: bytes = field(repr=False)
    kid: str = ""
    contact: tuple[str, ...] = ()
    next_key_pem: bytes | None = field(default=None, repr=False)


class Accounts:
    """The accounts below one cache directory, one folder for each directory URL.

    Args:
        cache_dir: where ``accounts/`` is or will be.
        report: told in a sentence of a file that was put aside or is ignored.
    """

    def __init__(self, cache_dir: Path, report: Callable[[str], None]) -> None:
        self._root = cache_dir / "accounts"
        self._report = report

    def folder(self, directory_url: str) -> Path:
        """Where the account at ``directory_url`` is kept: the host for people, a hash for us."""
        try:
            host = urlsplit(directory_url).hostname or ""
        except ValueError:
            host = ""
        readable = _UNSAFE.sub("_", host)[:100]
        return self._root / f"{readable}-{sha256(directory_url.encode()).hexdigest()[:16]}"

    def load(self, directory_url: str) -> Account | None:
        """The account at ``directory_url``; ``None`` when there is no key that can be read.

        A broken key is put aside and counts as none, but where a rollover was begun its key is
        taken. An ``account.json`` that is broken or about another key counts as one that was
        never written: another process or a backup may have put the key there.

        Raises:
            OSError: a file is there and cannot be read. No new account may be made for that:
                some CAs bind the first one to credentials that work once (RFC 8555 7.3.4).
            ValueError: a key may be read by others, or is no plain file.
        """
        folder = self.folder(directory_url)
        key_pem = self._key(folder / "account.pem")
        next_key_pem = self._key(folder / "account.next.pem")
        if key_pem is None and next_key_pem is not None:
            self._report(f"{folder / 'account.next.pem'} takes the place of account.pem")
            (folder / "account.next.pem").replace(folder / "account.pem")
            synchronise_directory(folder)
            key_pem, next_key_pem = next_key_pem, None
        if key_pem is None:
            return None
        account = Account(directory_url, key_pem, next_key_pem=next_key_pem)
        return self._with_known(folder / "account.json", account)

    def save_key(self, directory_url: str, key_pem: bytes) -> Account:
        """Keep the key of a new account; to be called before newAccount.

        Raises:
            FileExistsError: there is a key already, possibly another process's; an account's key
                is never written over.
            OSError: it cannot be written.
            ValueError: ``key_pem`` is no unencrypted private key.
        """
        _see_that_key(key_pem)
        create_private(self.folder(directory_url) / "account.pem", key_pem)
        return Account(directory_url, key_pem)

    def save_kid(self, account: Account, kid: str, contact: Sequence[str] = ()) -> None:
        """Remember the URL of ``account``, and the contact that the CA was given.

        Raises:
            OSError: it cannot be written.
        """
        known = {
            "directory": account.directory,
            "kid": kid,
            "contact": list(contact),
            "key": _thumbprint(account.key_pem),
        }
        write_private(self.folder(account.directory) / "account.json", encode_object(known))

    def forget_kid(self, directory_url: str) -> None:
        """Forget the account's URL, which the CA does not know any more; the key is kept.

        Raises:
            OSError: it cannot be removed.
        """
        remove(self.folder(directory_url) / "account.json")

    def save_next_key(self, directory_url: str, key_pem: bytes) -> None:
        """Keep the key that the account is to have; to be called before keyChange.

        Raises:
            FileExistsError: a rollover was begun and not ended: first find out which key it is.
            OSError: it cannot be written.
            ValueError: ``key_pem`` is no unencrypted private key.
        """
        _see_that_key(key_pem)
        create_private(self.folder(directory_url) / "account.next.pem", key_pem)

    def promote_next_key(self, directory_url: str) -> None:
        """Make the next key the account's, which the CA has accepted.

        Its URL is forgotten: the CA tells it to whoever has the key (RFC 8555 7.3.1).

        Raises:
            OSError: there is none, or it cannot be renamed.
        """
        folder = self.folder(directory_url)
        (folder / "account.next.pem").replace(folder / "account.pem")
        synchronise_directory(folder)

    def discard_next_key(self, directory_url: str) -> None:
        """Give the next key up, which the CA has refused; does nothing when there is none.

        Raises:
            OSError: it cannot be removed.
        """
        remove(self.folder(directory_url) / "account.next.pem")

    def sweep(self, older_than: float) -> None:
        """Remove every account's unfinished files that are older (seconds since 1970)."""
        for folder in self._root.glob("*/"):
            remove_unfinished(folder, older_than)

    def _key(self, path: Path) -> bytes | None:
        try:
            key_pem = read_private(path, MAX_KEY_BYTES)
        except FileNotFoundError:
            return None
        try:
            _see_that_key(key_pem)
        except ValueError as error:
            self._report(f"{path} {error}: kept as {put_aside(path).name}")
            return None
        return key_pem

    def _with_known(self, path: Path, account: Account) -> Account:
        """``account`` with its URL and its contact, where they are known."""
        try:
            known = parse_object(read_private(path, MAX_ACCOUNT_BYTES))
            kid, contact = known.get("kid"), known.get("contact", [])
            if known.get("directory") != account.directory or not isinstance(kid, str):
                raise ValueError("does not belong to this directory")
            if known.get("key") != _thumbprint(account.key_pem):
                raise ValueError("does not belong to the key in account.pem")
            if not isinstance(contact, list):
                raise ValueError("has no list of contacts")
        except FileNotFoundError:
            return account
        except (OSError, ValueError) as error:
            self._report(f"{path} is ignored, the CA will be asked for the account: {error}")
            # Not worth more: asking gives the same again.
            with suppress(OSError):
                put_aside(path)
            return account
        told = tuple(each for each in contact if isinstance(each, str))
        return evolve(account, kid=kid, contact=told)


def _thumbprint(key_pem: bytes) -> str:
    """What tells one key from another (RFC 7638); ``""`` of one that no account can have."""
    try:
        return AccountKey.from_pem(key_pem).thumbprint()
    except ValueError:
        return ""


def _see_that_key(key_pem: bytes) -> None:
    try:
        load_pem_private_key(key_pem, password=None)
    except (TypeError, ValueError, UnsupportedAlgorithm):
        raise ValueError("holds no unencrypted PEM private key") from None
