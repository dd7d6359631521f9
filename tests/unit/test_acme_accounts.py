"""Accounts on disk: what is remembered, what a crash leaves, what is done about broken files."""

from __future__ import annotations

import json
import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from revproxy.tls.acme import accounts
from revproxy.tls.acme.accounts import Account, Accounts
from revproxy.tls.acme.files import TEMPORARY
from revproxy.tls.acme.validation import new_key

URL = "https://acme-v02.api.letsencrypt.org/directory"
STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"
KID = "https://acme-v02.api.letsencrypt.org/acme/acct/1"
KEY, NEXT = new_key(), new_key()


class AccountsCase(SynchronousTestCase):
    """A cache directory of its own."""

    def setUp(self) -> None:
        self.root = Path(self.mktemp()).absolute()
        self.reports: list[str] = []
        self.accounts = Accounts(self.root, self.reports.append)
        self.folder = self.accounts.folder(URL)

    def crash_at(self, name: str) -> None:
        """Let the process die in place of what ``accounts`` calls by ``name``."""

        def dying(*_: object) -> None:
            raise KeyboardInterrupt

        self.patch(accounts, name, dying)


class RememberTests(AccountsCase):
    """The life of an account."""

    def test_none(self) -> None:
        """There is none at first, and asking makes no directory."""
        self.assertIsNone(self.accounts.load(URL))
        self.assertFalse(self.root.exists())

    def test_key_then_kid(self) -> None:
        """A key is remembered before the CA knows it, and its URL afterwards."""
        self.assertEqual(self.accounts.save_key(URL, KEY), Account(URL, KEY))
        self.assertEqual(self.accounts.load(URL), Account(URL, KEY))
        self.accounts.save_kid(Account(URL, KEY), KID, ["mailto:a@a.test"])
        expected = Account(URL, KEY, KID, ("mailto:a@a.test",))
        self.assertEqual(self.accounts.load(URL), expected)
        self.assertEqual(self.reports, [])

    def test_forget_kid(self) -> None:
        """Forgetting the URL keeps the key; it may be forgotten twice."""
        self.accounts.save_key(URL, KEY)
        self.accounts.save_kid(Account(URL, KEY), KID)
        self.accounts.forget_kid(URL)
        self.accounts.forget_kid(URL)
        self.assertEqual(self.accounts.load(URL), Account(URL, KEY))

    def test_directories_apart(self) -> None:
        """Each directory URL has its own account, also where the hosts are the same."""
        self.accounts.save_key(URL, KEY)
        for other in (STAGING, URL + "2", URL.replace("https", "http")):
            self.assertIsNone(self.accounts.load(other))
        self.assertEqual(self.folder.name[:-17], "acme-v02.api.letsencrypt.org")

    def test_folder_names(self) -> None:
        """Whatever the URL is, the folder is one directly below ``accounts``."""
        for url in ("", "https://[", "https://../..", "https://[::1]:14000/dir", "x" * 9999):
            folder = self.accounts.folder(url)
            self.assertEqual(folder.parent, self.root / "accounts", url)
            self.assertRegex(folder.name, r"\A[a-z0-9._-]{0,100}-[0-9a-f]{16}\Z")

    def test_private(self) -> None:
        """Every file is 0600 and every directory 0700; the key is in no repr."""
        self.accounts.save_key(URL, KEY)
        self.accounts.save_kid(Account(URL, KEY), KID)
        self.accounts.save_next_key(URL, NEXT)
        modes = {path.name: path.stat().st_mode & 0o777 for path in self.root.rglob("*")}
        files = ("account.pem", "account.json", "account.next.pem")
        folders = ("accounts", self.folder.name)
        self.assertEqual(modes, dict.fromkeys(files, 0o600) | dict.fromkeys(folders, 0o700))
        self.assertNotIn("PRIVATE", repr(self.accounts.load(URL)))

    def test_key_is_never_written_over(self) -> None:
        """A second key for a directory is refused and the first stays."""
        self.accounts.save_key(URL, KEY)
        with self.assertRaises(FileExistsError):
            self.accounts.save_key(URL, NEXT)
        self.assertEqual(self.accounts.load(URL), Account(URL, KEY))

    def test_two_processes(self) -> None:
        """The key of a process that was faster by a moment is not written over."""
        self.patch(os.path, "lexists", lambda path: False)
        self.accounts.save_key(URL, KEY)
        with self.assertRaises(FileExistsError):
            self.accounts.save_key(URL, NEXT)
        self.assertEqual(self.accounts.load(URL), Account(URL, KEY))
        self.assertEqual(os.listdir(self.folder), ["account.pem"])

    def test_no_key(self) -> None:
        """What is no private key is not stored."""
        for content in (b"", b"garbage"):
            for save in (self.accounts.save_key, self.accounts.save_next_key):
                with self.assertRaises(ValueError):
                    save(URL, content)
        self.assertFalse(self.root.exists())

    def test_crash_while_saving(self) -> None:
        """A process that dies while writing the URL leaves the key."""
        self.accounts.save_key(URL, KEY)
        self.crash_at("write_private")
        with self.assertRaises(KeyboardInterrupt):
            self.accounts.save_kid(Account(URL, KEY), KID)
        self.assertEqual(self.accounts.load(URL), Account(URL, KEY))

    def test_sweep(self) -> None:
        """Old unfinished files go, and nothing else."""
        self.accounts.save_key(URL, KEY)
        leftover = self.folder / f"{TEMPORARY}x"
        leftover.write_bytes(KEY)
        os.utime(leftover, (1, 1))
        self.accounts.sweep(2.0)
        self.assertEqual(os.listdir(self.folder), ["account.pem"])


class RolloverTests(AccountsCase):
    """Another key for the account (RFC 8555 7.3.5)."""

    def setUp(self) -> None:
        super().setUp()
        self.accounts.save_key(URL, KEY)
        self.accounts.save_kid(Account(URL, KEY), KID)

    def test_promote(self) -> None:
        """The next key is known beside the present one until it takes its place.

        The CA is asked by the new one which account it is.
        """
        self.accounts.save_next_key(URL, NEXT)
        self.assertEqual(self.accounts.load(URL), Account(URL, KEY, KID, (), NEXT))
        self.accounts.promote_next_key(URL)
        self.assertEqual(self.accounts.load(URL), Account(URL, NEXT))

    def test_discard(self) -> None:
        """A key that was refused is given up; the present one stays."""
        self.accounts.save_next_key(URL, NEXT)
        self.accounts.discard_next_key(URL)
        self.accounts.discard_next_key(URL)
        self.assertEqual(self.accounts.load(URL), Account(URL, KEY, KID))

    def test_unended(self) -> None:
        """A rollover that a crash has cut is not begun again: that key may be the account's."""
        self.accounts.save_next_key(URL, NEXT)
        with self.assertRaises(FileExistsError):
            self.accounts.save_next_key(URL, new_key())
        account = self.accounts.load(URL)
        assert account is not None
        self.assertEqual(account.next_key_pem, NEXT)

    def test_nothing_to_promote(self) -> None:
        """Without a next key nothing changes."""
        with self.assertRaises(FileNotFoundError):
            self.accounts.promote_next_key(URL)
        self.assertEqual(self.accounts.load(URL), Account(URL, KEY, KID))


class BrokenTests(AccountsCase):
    """Files that nothing can be made of."""

    def setUp(self) -> None:
        super().setUp()
        self.accounts.save_key(URL, KEY)
        self.accounts.save_kid(Account(URL, KEY), KID)

    def test_broken_key(self) -> None:
        """A broken key is put aside, and a new one does not inherit its URL."""
        (self.folder / "account.pem").write_bytes(KEY[:50])
        self.assertIsNone(self.accounts.load(URL))
        self.assertEqual((self.folder / "account.pem.broken").read_bytes(), KEY[:50])
        (report,) = self.reports
        self.assertIn("kept as account.pem.broken", report)
        self.assertNotIn(KEY[28:50].decode(), report)
        self.accounts.save_key(URL, NEXT)
        self.assertEqual(self.accounts.load(URL), Account(URL, NEXT))

    def test_broken_url(self) -> None:
        """A broken or foreign ``account.json`` is put aside and the CA will be asked again."""
        path = self.folder / "account.json"
        good = json.loads(path.read_text())
        for change in ({"directory": STAGING}, {"kid": 1}, {"kid": None}, {"contact": "x"}):
            path.write_text(json.dumps(good | change))
            self.assertEqual(self.accounts.load(URL), Account(URL, KEY), change)
            self.assertFalse(path.exists())
        for content in (b"", b"[]", b"\xff", b'{"a":' + b"[" * 60_000, b"x" * 70_000):
            path.write_bytes(content)
            path.chmod(0o600)
            self.assertEqual(self.accounts.load(URL), Account(URL, KEY), content[:20])
        self.assertEqual(len(self.reports), 9)

    def test_broken_key_in_a_rollover(self) -> None:
        """Where a rollover was begun, its key takes the place of a broken one."""
        self.accounts.save_next_key(URL, NEXT)
        (self.folder / "account.pem").write_bytes(KEY[:50])
        for _ in range(2):
            self.assertEqual(self.accounts.load(URL), Account(URL, NEXT))
        self.assertFalse((self.folder / "account.next.pem").exists())

    def test_url_of_another_key(self) -> None:
        """A URL that was kept with another key, or of which that is not known, is not believed."""
        path = self.folder / "account.json"
        known = json.loads(path.read_text())
        (self.folder / "account.pem").write_bytes(NEXT)  # of a backup
        self.assertEqual(self.accounts.load(URL), Account(URL, NEXT))
        self.assertIn("does not belong to the key in account.pem", self.reports[0])
        del known["key"]
        path.write_text(json.dumps(known))
        path.chmod(0o600)
        self.assertEqual(self.accounts.load(URL), Account(URL, NEXT))

    def test_open_to_others(self) -> None:
        """A key that others may read is an error and no reason for a new account."""
        (self.folder / "account.pem").chmod(0o644)
        with self.assertRaisesRegex(ValueError, "account.pem is open to other users"):
            self.accounts.load(URL)
        self.assertTrue((self.folder / "account.pem").exists())

    def test_link(self) -> None:
        """A key in whose place is a symbolic link is an error, and not written over."""
        (self.folder / "account.pem").rename(self.folder / "elsewhere")
        (self.folder / "account.pem").symlink_to("missing")
        with self.assertRaisesRegex(ValueError, "symbolic link"):
            self.accounts.load(URL)
        with self.assertRaises(FileExistsError):
            self.accounts.save_key(URL, NEXT)
