"""Pending challenges: what is answered, what another process sees, what strangers cost."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from math import inf
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from revproxy.tls.acme import pending
from revproxy.tls.acme.files import TEMPORARY
from revproxy.tls.acme.pending import (
    MAX_TOKEN,
    MOST_PENDING,
    SETTLED_SECS,
    Challenge,
    PendingChallenges,
)
from revproxy.tls.acme.validation import server_name

TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
THUMBPRINT = "9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"
AUTHORIZATION = f"{TOKEN}.{THUMBPRINT}"
HTTP = Challenge("http-01", "a.test", TOKEN, AUTHORIZATION)
TLS = Challenge("tls-alpn-01", "a.test", TOKEN, AUTHORIZATION)
OTHER = Challenge("tls-alpn-01", "a.test", "x" * 43, f"{'x' * 43}.{THUMBPRINT}")


def numbered(number: int) -> Challenge:
    return Challenge("http-01", "a.test", f"t{number}", f"t{number}.{THUMBPRINT}")


class PendingCase(SynchronousTestCase):
    """A folder of its own, seen by two processes."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute() / "pending"
        self.now = inf
        """Far from every time of modification: the folder has not changed for long."""
        self.mine = PendingChallenges(self.folder, lambda: self.now)
        self.others = PendingChallenges(self.folder, lambda: self.now)
        self.mine.prepare()

    def counted(self, name: str) -> list[object]:
        """The calls of what ``pending`` calls by ``name``."""
        calls: list[object] = []
        owner = os if hasattr(os, name) else pending
        real: Callable[..., object] = getattr(owner, name)

        def counting(*arguments: object, **more: object) -> object:
            calls.append(arguments[0])
            return real(*arguments, **more)

        self.patch(owner, name, counting)
        return calls

    def files(self) -> list[str]:
        return sorted(os.listdir(self.folder))


class AnswerTests(PendingCase):
    """What is answered."""

    def test_http(self) -> None:
        """A token is answered with its key authorization while it is pending, here and there."""
        self.assertIsNone(self.mine.http(TOKEN.encode()))
        self.mine.add(HTTP)
        for process in (self.mine, self.others):
            self.assertEqual(process.http(TOKEN.encode()), AUTHORIZATION.encode())
            self.assertIsNone(process.http(TOKEN[:-1].encode()))
            self.assertIsNone(process.tls("a.test"))
        self.mine.remove(HTTP)
        for process in (self.mine, self.others):
            self.assertIsNone(process.http(TOKEN.encode()))
        self.assertEqual(self.files(), [])

    def test_tls(self) -> None:
        """A name is found while it is pending, here and there; not as an HTTP token."""
        self.mine.add(TLS)
        for process in (self.mine, self.others):
            self.assertEqual(process.tls("a.test"), TLS)
            self.assertIsNone(process.tls("b.test"))
            self.assertIsNone(process.http(TOKEN.encode()))

    def test_address(self) -> None:
        """An address is looked up by the name in the ClientHello (RFC 8738 6)."""
        for name in ("192.0.2.1", "2001:db8::1"):
            challenge = Challenge("tls-alpn-01", name, TOKEN, AUTHORIZATION)
            self.mine.add(challenge)
            for process in (self.mine, self.others):
                self.assertEqual(process.tls(server_name(name)), challenge)
                self.assertIsNone(process.tls(name))

    def test_name_in_capitals(self) -> None:
        """A challenge for a name in capitals is found by the name in lower case."""
        self.mine.add(Challenge("tls-alpn-01", "A.Test", TOKEN, AUTHORIZATION))
        self.assertEqual(self.others.tls("a.test"), TLS)

    def test_replaced(self) -> None:
        """A second challenge for a name ends the first; ending the first ends nothing else."""
        self.mine.add(TLS)
        self.assertEqual(self.others.tls("a.test"), TLS)
        self.mine.add(OTHER)
        self.mine.remove(TLS)
        for process in (self.mine, self.others):
            self.assertEqual(process.tls("a.test"), OTHER)
        stats = self.counted("stat")
        self.mine.tls("a.test")
        self.assertEqual(stats, [])

    def test_removed_by_another(self) -> None:
        """A process does not end another one's challenge for the same name."""
        self.mine.add(TLS)
        self.others.add(OTHER)
        self.mine.remove(TLS)
        self.assertEqual(self.others.tls("a.test"), OTHER)
        self.assertEqual(self.mine.tls("a.test"), OTHER)

    def test_remove_twice(self) -> None:
        """Ending what has ended is no error, nor is a folder that is gone."""
        self.mine.add(HTTP)
        self.mine.remove(HTTP)
        self.mine.remove(HTTP)
        self.folder.rmdir()
        self.mine.remove(HTTP)
        self.assertIsNone(self.mine.http(TOKEN.encode()))

    def test_private(self) -> None:
        """Files are their owner's alone, their names tell nothing, and neither does a repr."""
        self.mine.add(HTTP)
        (name,) = self.files()
        self.assertRegex(name, r"\A[0-9a-f]{64}\Z")
        self.assertEqual((self.folder / name).stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.folder.stat().st_mode & 0o777, 0o700)
        self.assertNotIn(THUMBPRINT, repr(HTTP))

    def test_full_disk(self) -> None:
        """A challenge whose file cannot be written is pending nowhere."""

        def failing(*_: object) -> None:
            raise OSError(28, "No space left on device")

        self.patch(pending, "write_private", failing)
        with self.assertRaises(OSError):
            self.mine.add(HTTP)
        self.assertIsNone(self.mine.http(TOKEN.encode()))

    def test_bounded(self) -> None:
        """No more than so many are pending in one process."""
        self.patch(pending, "MOST_PENDING", 3)
        for number in range(3):
            self.mine.add(numbered(number))
        with self.assertRaises(ValueError):
            self.mine.add(HTTP)


class ChallengeTests(SynchronousTestCase):
    """What can be a challenge."""

    def test_refused(self) -> None:
        """A kind, name or token that is none, and a key authorization of another token."""
        table = [
            ("dns-01", "a.test", TOKEN, AUTHORIZATION),
            ("http-01", "a b", TOKEN, AUTHORIZATION),
            ("http-01", "a.test", "x" * 43, AUTHORIZATION),
            ("http-01", "a.test", "", f".{THUMBPRINT}"),
            ("http-01", "a.test", "../x", f"../x.{THUMBPRINT}"),
            ("http-01", "a.test", TOKEN, TOKEN),
            ("http-01", "a.test", TOKEN, AUTHORIZATION + "\n"),
            ("http-01", "a.test", TOKEN, AUTHORIZATION + "=" * 1),
            ("http-01", "a.test", "x" * (MAX_TOKEN + 1), f"{'x' * (MAX_TOKEN + 1)}.{THUMBPRINT}"),
        ]
        for parts in table:
            with self.assertRaises(ValueError, msg=parts):
                Challenge(*parts)  # type: ignore[arg-type]

    def test_no_secret_in_errors(self) -> None:
        """A refused key authorization is not told."""
        with self.assertRaises(ValueError) as caught:
            Challenge("http-01", "a.test", TOKEN, AUTHORIZATION + "x")
        self.assertNotIn(THUMBPRINT, str(caught.exception))


class StrangerTests(PendingCase):
    """Requests for what is not pending."""

    def test_malformed(self) -> None:
        """What is no token or name does not even cost a look at the folder."""
        self.mine.add(HTTP)
        calls = self.counted("stat")
        for token in (
            b"",
            b"a/b",
            b"..",
            b"a.b",
            b"a%41",
            b"a\n",
            b"\xff",
            b"a" * (MAX_TOKEN + 1),
        ):
            self.assertIsNone(self.mine.http(token))
        for name in ("a" * 254, "\u00e9.test", "\ud800"):
            self.assertIsNone(self.mine.tls(name))
        self.assertEqual(calls, [])

    def test_cost(self) -> None:
        """With others pending, each costs one stat; the folder is listed once, nothing read."""
        self.mine.add(HTTP)
        stats, lists = self.counted("stat"), self.counted("scandir")
        reads = self.counted("read_private")
        for number in range(50):
            self.assertIsNone(self.others.http(b"token%d" % number))
        self.assertEqual((len(stats), len(lists), reads), (50, 1, []))

    def test_known_token_again_and_again(self) -> None:
        """Another process's challenge is read once while the folder stays as it is."""
        self.mine.add(HTTP)
        reads = self.counted("read_private")
        for _ in range(50):
            self.others.http(TOKEN.encode())
        self.assertEqual(len(reads), 1)

    def test_own(self) -> None:
        """This process's own challenges cost nothing on the disk."""
        self.mine.add(HTTP)
        stats = self.counted("stat")
        self.assertEqual(self.mine.http(TOKEN.encode()), AUTHORIZATION.encode())
        self.assertEqual(stats, [])

    def test_just_changed(self) -> None:
        """Right after a change the time of modification is not believed: each asks for its file,
        and a challenge is found that has come without the time changing."""
        self.mine.add(numbered(1))
        status = self.folder.stat()
        self.now = status.st_mtime + SETTLED_SECS / 2
        lists = self.counted("scandir")
        self.assertIsNone(self.others.http(TOKEN.encode()))
        self.mine.add(HTTP)
        os.utime(self.folder, ns=(status.st_atime_ns, status.st_mtime_ns))
        self.assertEqual(self.others.http(TOKEN.encode()), AUTHORIZATION.encode())
        self.assertEqual(lists, [])
        self.now = status.st_mtime + SETTLED_SECS * 2
        self.assertEqual(self.others.http(TOKEN.encode()), AUTHORIZATION.encode())
        self.assertEqual(len(lists), 1)

    def test_crowded_folder(self) -> None:
        """A folder with too many files to remember is not listed again, and all are found."""
        for number in range(MOST_PENDING + 1):
            (self.folder / f"{number}").touch()
        self.mine.add(HTTP)
        lists = self.counted("scandir")
        for _ in range(3):
            self.assertIsNone(self.others.http(b"stranger"))
            self.assertEqual(self.others.http(TOKEN.encode()), AUTHORIZATION.encode())
        self.assertEqual(len(lists), 1)

    @settings(deadline=None, derandomize=True, max_examples=200)
    @given(st.binary(max_size=60), st.text(max_size=60))
    def test_anything(self, token: bytes, name: str) -> None:
        """Any token and any name give an answer and no error."""
        found = PendingChallenges(Path("missing"), lambda: 0.0)
        self.assertIsNone(found.http(token))
        self.assertIsNone(found.tls(name))


class BrokenTests(PendingCase):
    """A folder that is not as it should be: nothing is pending, and nothing is an error."""

    def setUp(self) -> None:
        super().setUp()
        self.mine.add(HTTP)
        self.path = self.folder / HTTP.file_name

    def nothing(self) -> None:
        self.assertIsNone(PendingChallenges(self.folder, lambda: self.now).http(TOKEN.encode()))

    def test_missing_folder(self) -> None:
        """No folder."""
        self.path.unlink()
        self.folder.rmdir()
        self.nothing()

    def test_contents(self) -> None:
        """Files that are no challenge, or another one."""
        good = json.loads(self.path.read_bytes())
        assert self.others.http(TOKEN.encode())
        contents = [b"", b"[]", b"\xff", b"{}", b" " * 5000, b'{"a":' + b"[" * 4000]
        changes = ({"kind": "tls-alpn-01"}, {"kind": 1}, {"token": "x"}, {"name": "a b"})
        contents += [json.dumps(good | change).encode() for change in changes]
        contents.append(json.dumps(good | {"key_authorization": TOKEN + ".x"}).encode())
        for content in contents:
            self.path.write_bytes(content)
            self.nothing()
        self.path.write_text(json.dumps(good))
        self.assertTrue(PendingChallenges(self.folder, lambda: self.now).http(TOKEN.encode()))

    def test_open_to_others(self) -> None:
        """A file that another user could have written."""
        self.path.chmod(0o622)
        self.nothing()

    def test_no_file(self) -> None:
        """A link, a directory, a FIFO."""
        self.path.rename(self.folder / "elsewhere")
        self.path.symlink_to("elsewhere")
        self.nothing()
        self.path.unlink()
        self.path.mkdir()
        self.nothing()
        self.path.rmdir()
        os.mkfifo(self.path, 0o600)
        self.nothing()


class SweepTests(PendingCase):
    """What a process has left that died."""

    def test_sweep(self) -> None:
        """Old files go; young ones, this process's own and strange ones stay."""
        self.mine.add(HTTP)
        self.others.add(TLS)
        self.others.add(numbered(1))
        for name in ("strange", TEMPORARY + "x"):
            (self.folder / name).touch()
        for name in (HTTP.file_name, TLS.file_name, "strange", TEMPORARY + "x"):
            os.utime(self.folder / name, (100, 100))
        self.assertEqual(self.mine.sweep(150.0), 2)
        kept = [HTTP.file_name, numbered(1).file_name, "strange"]
        self.assertEqual(self.files(), sorted(kept))
        self.assertIsNone(self.mine.tls("a.test"))

    def test_missing_folder(self) -> None:
        """No folder, nothing to sweep."""
        self.folder.rmdir()
        self.assertEqual(self.mine.sweep(150.0), 0)
