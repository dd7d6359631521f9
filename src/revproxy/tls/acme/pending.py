"""The challenges that a CA may come to validate, for every process that serves a listener.

Owns where they are: in memory and, for other processes (workers, the generation before a
restart), one file each below the cache directory. Refuses to know requests and handshakes, and
what an answer looks like on the wire.

Strangers may ask for any token or name at any rate. One that is not pending costs them a hash and
one ``stat`` of the directory, and never more than an attempt to open one file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Literal, get_args

import attrs
from attrs import field, frozen

from revproxy.tls.acme.files import (
    encode_object,
    make_private_directory,
    parse_object,
    read_private,
    remove,
    remove_unfinished,
    write_private,
)
from revproxy.tls.acme.validation import normal_name, server_name

Kind = Literal["tls-alpn-01", "http-01"]

MAX_TOKEN = 256
"""The longest token: RFC 8555 8.3 asks for 22 characters, the CAs use 43."""

MOST_PENDING = 1000
"""Challenges that are pending in one process, and in the directory."""

MAX_CHALLENGE_BYTES = 4096
"""The largest file of a challenge."""

SETTLED_SECS = 2.0
"""So long after a directory was changed, its time of modification may not tell of another change:
some file systems count in whole or even seconds."""

_TOKEN = re.compile(rb"[A-Za-z0-9_-]{1,%d}" % MAX_TOKEN)
_KEY_AUTHORIZATION = re.compile(r"([A-Za-z0-9_-]{1,256})\.[A-Za-z0-9_-]{43}")
_FILE_NAME = re.compile(r"[0-9a-f]{64}")
_MOST_NAME = 253


@frozen
class Challenge:
    """One challenge that was or is about to be answered to the CA (RFC 8555 8).

    Attributes:
        kind: how the CA will come.
        name: the identifier that it is about: a host name or an IP address.
        token: RFC 8555 8.3, base64url.
        key_authorization: RFC 8555 8.1, what proves that we are who has ordered.

    Raises:
        ValueError: on construction, when one of them is not what it should be.
    """

    kind: Kind
    name: str = field(converter=normal_name)
    token: str = field()
    key_authorization: str = field(repr=False)

    def __attrs_post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError("not a kind of challenge that is answered here")
        whole = _KEY_AUTHORIZATION.fullmatch(self.key_authorization)
        if whole is None or whole[1] != self.token:
            raise ValueError("the key authorization is not one of the token (RFC 8555 8.1)")

    @property
    def key(self) -> str:
        """What it is looked up by: the token, or the host name in the ClientHello."""
        return self.token if self.kind == "http-01" else server_name(self.name)

    @property
    def file_name(self) -> str:
        """What its file is called; says nothing about it to who cannot guess it."""
        return _file_name(self.kind, self.key)


def _file_name(kind: Kind, key: str) -> str:
    return sha256(f"{kind}|{key}".encode()).hexdigest()


class PendingChallenges:
    """The pending challenges, this process's own and the others'.

    Args:
        directory: where the files are; on a local file system, as network file systems may
            show a new file to other machines only after a minute.
        wall: seconds since 1970, as the file system counts them.
    """

    def __init__(self, directory: Path, wall: Callable[[], float]) -> None:
        self._directory = directory
        self._wall = wall
        self._own: dict[str, Challenge] = {}
        self._changed = -1
        """The directory's time of modification when the next two were true, in nanoseconds."""
        self._names: frozenset[str] | None = None  # too many to remember
        self._others: dict[str, Challenge] = {}

    def add(self, challenge: Challenge) -> None:
        """Make ``challenge`` pending in every process; one of the same token or name ends.

        Raises:
            OSError: its file cannot be written; it is not pending.
            ValueError: too many are pending.
        """
        if len(self._own) >= MOST_PENDING:
            raise ValueError(f"more than {MOST_PENDING} challenges are pending")
        path = self._directory / challenge.file_name
        write_private(path, encode_object(attrs.asdict(challenge)))
        self._own[challenge.file_name] = challenge

    def remove(self, challenge: Challenge) -> None:
        """End ``challenge``; another one of the same token or name goes on.

        A file that cannot be removed stays for :meth:`sweep`: this is called where something
        else may have gone wrong already.
        """
        name = challenge.file_name
        if self._own.get(name) == challenge:
            self._own.pop(name, None)  # a thread may be as quick
        with suppress(OSError, ValueError):
            if self._read(name) == challenge:
                remove(self._directory / name)

    def http(self, token: bytes) -> bytes | None:
        """The key authorization that is answered to a request for ``token`` (RFC 8555 8.3).

        Args:
            token: what follows the prefix of the path, as it came.

        Returns:
            ``None`` when nothing is pending for it: the request is somebody else's.
        """
        if not _TOKEN.fullmatch(token):
            return None
        challenge = self._look_up(_file_name("http-01", token.decode("ascii")))
        return challenge.key_authorization.encode("ascii") if challenge else None

    def tls(self, name: str) -> Challenge | None:
        """The challenge that a ClientHello with ``acme-tls/1`` for ``name`` validates.

        Args:
            name: the server name in lower case; of an IP address what RFC 8738 6 makes of it.

        Returns:
            ``None`` when nothing is pending for it: the handshake is to be refused.
        """
        if len(name) > _MOST_NAME or not name.isascii():
            return None
        return self._look_up(_file_name("tls-alpn-01", name))

    def sweep(self, older_than: float) -> int:
        """Remove the files that a process has left which died in mid-order.

        Args:
            older_than: seconds since 1970; what is younger may be pending in another process.

        Returns:
            how many were removed.
        """
        removed = remove_unfinished(self._directory, older_than)
        with suppress(OSError), os.scandir(self._directory) as files:
            for file in files:
                if not _FILE_NAME.fullmatch(file.name) or file.name in self._own:
                    continue
                with suppress(OSError):
                    if file.stat(follow_symlinks=False).st_mtime < older_than:
                        os.unlink(file.path)
                        removed += 1
        return removed

    def prepare(self) -> None:
        """Make the directory, so that a missing one is found at start and not with an order.

        Raises:
            OSError: it cannot be made.
        """
        make_private_directory(self._directory)

    def _look_up(self, name: str) -> Challenge | None:
        own = self._own.get(name)
        if own is not None:
            return own
        try:
            settled = self._listed()
            if settled and self._names is not None and name not in self._names:
                return None
            challenge = self._others.get(name) if settled else None
            if challenge is None:
                challenge = self._read(name)
                if settled:
                    self._others[name] = challenge
        except (OSError, ValueError):
            return None
        return challenge

    def _listed(self) -> bool:
        """Whether the names of the files are known, which are read where the directory changed."""
        changed = os.stat(self._directory).st_mtime_ns
        if changed == self._changed:
            return True
        if abs(self._wall() - changed / 1e9) < SETTLED_SECS:
            return False
        with os.scandir(self._directory) as files:
            names = frozenset(file.name for file in islice(files, MOST_PENDING + 1))
        self._names = names if len(names) <= MOST_PENDING else None
        self._changed, self._others = changed, {}
        return True

    def _read(self, name: str) -> Challenge:
        """The challenge in a file.

        Raises:
            OSError: it cannot be read.
            ValueError: it may be somebody else's, or is no challenge that belongs there.
        """
        challenge = _parsed(
            parse_object(read_private(self._directory / name, MAX_CHALLENGE_BYTES))
        )
        if challenge.file_name != name:
            raise ValueError("the file's name is another challenge's")
        return challenge


def _parsed(found: Mapping[str, object]) -> Challenge:
    parts = [found.get(name) for name in ("kind", "name", "token", "key_authorization")]
    if not all(isinstance(part, str) for part in parts):
        raise ValueError("not a challenge")
    return Challenge(*parts)  # type: ignore[arg-type]
