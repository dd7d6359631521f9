"""Certificates from a CA, on disk, each with its key and its record.

Owns that a good certificate is never replaced by one that cannot be served, that key and chain
change together (they are one file), that the one before is kept, and that a crash at any moment
leaves something to go on with. Refuses to know the protocol, when to renew, and who serves what.
No message contains a byte of a key.

One certificate is ``<id>.pem``, ``<id>.previous.pem``, ``<id>.json`` and, while an order is open,
``<id>.key.pem``. Everything blocks on the disk. One process at a time may write about one
certificate: :meth:`Store.lock`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import sha256
from itertools import islice
from pathlib import Path

import attrs
from attrs import field, frozen

from revproxy.errors import ConfigError
from revproxy.tls.acme.files import (
    Lock,
    make_private,
    put_aside,
    read_private,
    remove,
    remove_unfinished,
    write_private,
)
from revproxy.tls.acme.issued import (
    MAX_CERTIFICATE_BYTES,
    Certificate,
    checked_certificate,
    stored_content,
)
from revproxy.tls.acme.record import MAX_RECORD_BYTES, Record, parse_record
from revproxy.tls.acme.validation import normal_names

MOST_ENTRIES = 1000
"""Certificates that :meth:`Store.entries` lists."""

_UNSAFE = re.compile(r"[^a-z0-9._-]")


@frozen
class Entry:
    """What the store has about one set of names at one CA.

    Attributes:
        id: what its files are called.
        record: what is remembered.
        certificate: what can be served, possibly expired; ``None`` where there is none yet.
        order_key_pem: the key that ``record.order_url`` is finalized with; never in a ``repr``.
            ``None`` without an open order, or when it was lost: the order is of no use then.
    """

    id: str
    record: Record
    certificate: Certificate | None = None
    order_key_pem: bytes | None = field(default=None, repr=False)

    @property
    def left_out(self) -> list[str]:
        """The names that the certificate was issued without, in alphabetical order."""
        covered = self.certificate.names if self.certificate else frozenset()
        return sorted(set(self.record.names) - covered)


def entry_id(names: Sequence[str], directory_url: str) -> str:
    """What the files of the certificate for ``names`` are called: the first name for people, and
    a hash of all names and of the CA.

    Raises:
        ValueError: as ``normal_names``.
    """
    normal = normal_names(names)
    digest = sha256("\n".join([directory_url, *normal]).encode()).hexdigest()
    return f"{_UNSAFE.sub('_', normal[0])[:80]}-{digest[:16]}"


class Store:
    """The certificates below one cache directory.

    Args:
        cache_dir: where ``certs/`` is or will be.
        report: told in a sentence of a file that was put aside or could not be used.
    """

    def __init__(self, cache_dir: Path, report: Callable[[str], None]) -> None:
        self._folder = cache_dir / "certs"
        self._report = report

    def lock(self, names: Sequence[str], directory_url: str) -> Lock:
        """The lock between processes for one certificate; look at the store again under it.

        Raises:
            ValueError: as ``normal_names``.
        """
        return Lock(self._path(entry_id(names, directory_url), "lock"))

    def load(self, names: Sequence[str], directory_url: str) -> Entry | None:
        """What there is about ``names`` at the CA of ``directory_url``; ``None`` for nothing.

        Nothing that is wrong with a file is an error here: the file is reported, a broken one
        put aside, and what it held counts as missing. Where the certificate is missing, the one
        before it is served.

        Raises:
            ValueError: as ``normal_names``.
        """
        identifier = entry_id(names, directory_url)
        record = self._record(identifier)
        certificate = self._usable(self._path(identifier, "pem"))
        if certificate is None:
            certificate = self._usable(self._path(identifier, "previous.pem"))
            if certificate is not None:
                self._report(f"{certificate.path} stands in for the certificate after it")
        if record is None:
            if certificate is None:
                return None
            record = Record(normal_names(names), directory_url)
        if certificate is not None:
            record = record.about(certificate.fingerprint)
        order_key_pem = self._order_key(identifier) if record.order_url else None
        return Entry(identifier, record, certificate, order_key_pem)

    def entries(self) -> list[Entry]:
        """Every entry with a record, in the order of the ids, at most :data:`MOST_ENTRIES`."""
        found = []
        for path in sorted(islice(self._folder.glob("*.json"), MOST_ENTRIES)):
            record = self._record(path.stem)
            entry = record and self.load(record.names, record.directory)
            if entry:
                found.append(entry)
        return found

    def save_record(self, record: Record) -> None:
        """Remember ``record`` in place of what there is.

        Raises:
            OSError: it cannot be written.
            ValueError: it could not be read again.
        """
        identifier = entry_id(record.names, record.directory)
        write_private(self._path(identifier, "json"), record.encode())

    def begin_order(self, record: Record, order_url: str, key_pem: bytes) -> Record:
        """Remember an order and the key of its certificate; to be called before finalize.

        The key of an order that was open before is written over.

        Returns:
            the record that is on disk now.

        Raises:
            OSError: it cannot be written.
            ValueError: the URL is too long.
        """
        identifier = entry_id(record.names, record.directory)
        if record.order_url:  # never an old order with a new key
            self.save_record(attrs.evolve(record, order_url=""))
        write_private(self._path(identifier, "key.pem"), key_pem)
        begun = attrs.evolve(record, order_url=order_url)
        self.save_record(begun)
        return begun

    def end_order(self, record: Record) -> Record:
        """Give the open order up, and forget its key.

        Returns:
            the record that is on disk now.

        Raises:
            OSError: it cannot be written.
        """
        ended = attrs.evolve(record, order_url="")
        self.save_record(ended)
        remove(self._path(entry_id(record.names, record.directory), "key.pem"))
        return ended

    def save_certificate(
        self,
        record: Record,
        key_pem: bytes,
        chain_pem: bytes,
        *,
        now: float,
        replaces: str = "",
        names: Sequence[str] | None = None,
    ) -> Entry:
        """Put a new certificate in place of the present one, which is kept as the previous.

        Args:
            record: the entry's; its failures, its window and its order are over with this.
            key_pem: the new private key.
            chain_pem: the certificate, then its chain, as the CA has sent it.
            now: seconds since 1970.
            replaces: how the CA is told in time which certificate is replaced (RFC 9773 4.1).
            names: those that were ordered, where they are not all of the record's.

        Raises:
            OSError: it cannot be written; the present one is still there.
            ValueError: the certificate is unreadable, not the key's, does not cover every name,
                expired, or not valid yet; the present one is still there.
        """
        identifier = entry_id(record.names, record.directory)
        path = self._path(identifier, "pem")
        try:
            new = checked_certificate(path, key_pem, chain_pem, now=now)
        except ConfigError as error:
            raise ValueError(f"the new certificate is refused: {error.message}") from None
        missing = sorted(set(record.names if names is None else names) - new.names)
        if missing:
            raise ValueError(f"the new certificate does not cover {', '.join(missing[:5])}")
        previous, present = record.previous, self._usable(path)
        if present is not None and present.fingerprint != new.fingerprint:
            previous = present.fingerprint
            kept = present.key_pem + present.chain_pem
            write_private(self._path(identifier, "previous.pem"), kept)
        write_private(path, new.key_pem + new.chain_pem)
        saved = Record(
            names=record.names,
            directory=record.directory,
            profile=record.profile,
            certificate=new.fingerprint,
            previous=previous,
            replaces=replaces,
            issued_at=now,
        )
        return Entry(identifier, self.end_order(saved), new)

    def sweep(self, older_than: float) -> None:
        """Remove unfinished files that are older (seconds since 1970)."""
        remove_unfinished(self._folder, older_than)

    def _path(self, identifier: str, kind: str) -> Path:
        return self._folder / f"{identifier}.{kind}"

    def _record(self, identifier: str) -> Record | None:
        path = self._path(identifier, "json")
        content = self._content(lambda: read_private(path, MAX_RECORD_BYTES), path)
        if content is None:
            return None
        try:
            record = parse_record(content)
            if entry_id(record.names, record.directory) != identifier:
                raise ValueError("its names and directory are those of another file")
        except ValueError as error:
            self._put_aside(path, str(error))
            return None
        return record

    def _usable(self, path: Path) -> Certificate | None:
        content = self._content(lambda: stored_content(path), path)
        if content is None:
            return None
        self._close_to_others(path)
        try:
            return checked_certificate(path, content, content)
        except ConfigError as error:
            self._put_aside(path, error.message)
            return None

    def _close_to_others(self, path: Path) -> None:
        """Take a certificate's key from others who can read it, as is so after a copy."""
        try:
            mode = make_private(path)
        except OSError as error:
            self._report(f"{path} is open to other users, chmod 0600: {error.strerror}")
        else:
            if mode is not None:
                self._report(
                    f"{path} was open to other users (mode {mode:04o}) and is not any more: "
                    "if somebody may have read it, renew the certificate"
                )

    def _order_key(self, identifier: str) -> bytes | None:
        path = self._path(identifier, "key.pem")
        return self._content(lambda: read_private(path, MAX_CERTIFICATE_BYTES), path)

    def _content(self, read: Callable[[], bytes], path: Path) -> bytes | None:
        """What is read from ``path``; ``None`` where it is not there or may not be used."""
        try:
            return read()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._report(f"{path} cannot be read: {error.strerror}")
        except ValueError as error:
            self._report(str(error))
        return None

    def _put_aside(self, path: Path, why: str) -> None:
        with suppress(OSError):
            self._report(f"{path} is kept as {put_aside(path).name}: {why}")
