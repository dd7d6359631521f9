"""git over smart HTTP through the proxy, to git's own backend behind nginx."""

from __future__ import annotations

from typing import Any, ClassVar

from tests.support.nginx import Nginx
from tests.support.real_clients import OverTls, OverUnix, RealCase, digest_of, write_random


class GitTests(RealCase):
    """Clones and pushes, with nginx on a TCP port."""

    NGINX: ClassVar[dict[str, Any]] = {}

    @classmethod
    def start_upstream(cls) -> Nginx:
        """An nginx with git's backend."""
        return Nginx(git=True, **cls.NGINX)

    def setUp(self) -> None:
        super().setUp()
        self.name = f"{self._testMethodName}.git"
        self.bare = str(self.nginx.new_repository(self.name))
        self.address = self.url(f"/git/{self.name}")

    def commit(self, work: str, mebibytes: int) -> str:
        """Commit a file that no compression makes smaller; its digest."""
        digest = write_random(self.folder / work / f"file{mebibytes}", mebibytes)
        self.git("-C", work, "add", ".")
        self.git("-C", work, "commit", "-q", "-m", f"{mebibytes} MiB")
        return digest

    def test_push_and_clone(self) -> None:
        """What is pushed, larger than git's buffer and so sent chunked, is what is cloned."""
        self.git("init", "-q", "ours")
        digest = self.commit("ours", 12)
        self.git("-C", "ours", "push", "-q", self.address, "main")
        self.git("-C", self.bare, "fsck", "--strict")
        self.git("clone", "-q", self.address, "theirs")
        self.assertEqual(digest_of(self.folder / "theirs" / "file12"), digest)
        self.assertEqual(
            self.git("-C", "theirs", "rev-parse", "HEAD"),
            self.git("-C", "ours", "rev-parse", "HEAD"),
        )

    def test_push_of_known_length(self) -> None:
        """A push that fits git's buffer, and so has a length, arrives whole."""
        self.git("init", "-q", "ours")
        self.commit("ours", 5)
        self.git(
            "-C", "ours", "-c", "http.postBuffer=20000000", "push", "-q", self.address, "main"
        )
        self.git("-C", self.bare, "fsck", "--strict")

    def test_work_together(self) -> None:
        """Two clones push, fetch and tag in turn, and are the same in the end."""
        self.git("clone", "-q", self.address, "one")
        self.commit("one", 1)
        self.git("-C", "one", "push", "-q", "origin", "HEAD:main")
        self.git("clone", "-q", "--depth", "1", self.address, "two")
        self.commit("two", 3)
        self.git("-C", "two", "tag", "v1")
        self.git("-C", "two", "push", "-q", "--tags", "origin", "main")
        self.git("-C", "one", "pull", "-q", "--ff-only", "origin", "main")
        heads = {self.git("-C", work, "rev-parse", "main") for work in ("one", "two", self.bare)}
        self.assertEqual(len(heads), 1)
        self.assertIn("refs/tags/v1", self.git("ls-remote", self.address))


class GitOverTlsTests(OverTls, GitTests):
    """The same with an nginx that speaks TLS."""


class GitOverUnixTests(OverUnix, GitTests):
    """The same with an nginx on a UNIX socket."""
