"""The lock between orders that have a name in common, whatever processes they are made in.

Owns that of two such orders one waits: a handshake can answer one challenge for a name (RFC 8737
3), so the challenge of the second would make the first one's validation fail. Refuses to know
orders. Blocks on the disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from revproxy.tls.acme.files import Lock

STRIPES = 16
"""Names share so many files, which are never removed."""


class NameLock:
    """All names of an order.

    The files are taken in the same order by everybody, so that no two wait for each other.

    Args:
        cache_dir: whose challenges are answered from the same place.
        names: those of the order.
    """

    def __init__(self, cache_dir: Path, names: Sequence[str]) -> None:
        stripes = {sha256(name.encode()).digest()[0] % STRIPES for name in names}
        self._locks = [
            Lock(cache_dir / "locks" / f"names-{stripe:02}.lock") for stripe in sorted(stripes)
        ]

    def try_acquire(self) -> bool:
        """Take what is still missing, as far as nobody holds it; whether all is held then.

        Raises:
            OSError: a file cannot be made or opened.
        """
        return all(lock.held or lock.try_acquire() for lock in self._locks)

    def close(self) -> None:
        """Give all of it back for good."""
        for lock in self._locks:
            lock.close()
