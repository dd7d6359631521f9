"""Our account with an authority: when it is made, found again, and told something new."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from revproxy.tls.acme.accounts import Account, Accounts
from revproxy.tls.acme.client import Client
from revproxy.tls.acme.problem import AcmeProblem, CannotReach
from revproxy.tls.acme.requests import Requests
from revproxy.tls.acme.session import Session
from revproxy.tls.acme.validation import new_key
from revproxy.tls.acme.wanted import Authority
from tests.support.fake_ca import BASE, DIRECTORY, FakeAuthority, problem
from tests.support.tls_peers import NOW

KID = f"{BASE}/account/1"


class SessionCase(SynchronousTestCase):
    """A process with an authority in memory, and a cache directory."""

    def setUp(self) -> None:
        self.channel: Any = FakeAuthority(lambda: NOW)
        self.authority = Authority(Path(self.mktemp()).absolute(), DIRECTORY, "mailto:a@b.test")
        self.reports: list[str] = []
        self.accounts = Accounts(self.authority.cache_dir, self.reports.append)
        self.made = 0

    async def in_thread(self, call: Any) -> Any:
        return call()

    def requests(self, authority: Authority) -> Requests:
        self.make()
        return Requests(self.channel, Clock(), lambda: NOW, lambda: 0.5)

    def make(self) -> None:
        """Called for each set of connections that is made."""
        self.made += 1

    def session(self) -> Session:
        """That of a process which has just been started."""
        return Session(self.authority, self.requests, self.in_thread, self.reports.append)

    def client(self, session: Session | None = None) -> Client:
        """What a session gives."""
        asked = Deferred.fromCoroutine((session or self.session()).client())
        return self.successResultOf(asked)

    def kept(self) -> Account:
        """What is on disk."""
        account = self.accounts.load(DIRECTORY)
        assert account is not None
        return account


class AccountTests(SessionCase):
    def test_made_once(self) -> None:
        """The account is made once, and found by the processes after it without asking."""
        first = self.client()
        self.assertEqual(self.client().key.thumbprint(), first.key.thumbprint())
        self.assertEqual(self.channel.asked.count("account"), 1)
        self.assertEqual(self.kept().kid, KID)

    def test_two_processes(self) -> None:
        """Of two that begin with an empty directory, the slower takes the key of the faster."""
        other = new_key()
        load = Accounts.load

        def slow(accounts: Accounts, directory: str) -> Account | None:
            found = load(accounts, directory)
            if found is None:
                accounts.save_key(directory, other)
            return found

        self.patch(Accounts, "load", slow)
        self.client()
        self.assertEqual(self.kept().key_pem, other)
        self.assertEqual(self.kept().kid, KID)

    def test_key_of_a_backup(self) -> None:
        """With another key in place of the account's the authority is asked for the account."""
        self.client()
        (path,) = self.authority.cache_dir.glob("accounts/*/account.pem")
        path.write_bytes(new_key())
        self.client()
        self.assertEqual(self.channel.asked.count("account"), 2)
        self.client()
        self.assertEqual(self.channel.asked.count("account"), 2)

    def test_contact(self) -> None:
        """Another contact is told to the authority, once."""
        self.client()
        self.authority = evolve(self.authority, contact="mailto:c@b.test")
        for _ in range(2):
            self.client()
        self.assertEqual(self.channel.asked.count("account/1"), 1)
        self.assertEqual(self.kept().contact, ("mailto:c@b.test",))

    def test_refused_contact(self) -> None:
        """A contact that is refused is reported, and keeps nobody from a certificate."""
        self.client()
        self.authority = evolve(self.authority, contact="mailto:x@example.org")
        self.channel.refuse("account", 400, problem("invalidContact", "a forbidden domain"))
        session = self.session()
        for _ in range(2):
            self.assertEqual(self.client(session).account_url, KID)
        (report,) = self.reports
        self.assertIn("does not take mailto:x@example.org: a forbidden domain", report)
        self.assertEqual(self.kept().contact, ("mailto:a@b.test",))

    def test_lost(self) -> None:
        """An account that the authority has lost is made anew with the order that shows it."""
        self.client()
        client = self.client()
        self.channel.refuse("order", 400, problem("accountDoesNotExist"))
        ordering = Deferred.fromCoroutine(client.new_order(["a.test"]))
        self.assertEqual(self.successResultOf(ordering).identifiers, ("a.test",))
        self.assertEqual(self.channel.asked.count("account"), 2)
        self.assertEqual(self.kept().kid, KID)

    def test_lost_again(self) -> None:
        """Once, and no more."""
        client = self.client()
        for _ in range(2):
            self.channel.refuse("order", 400, problem("accountDoesNotExist"))
        self.failureResultOf(Deferred.fromCoroutine(client.new_order(["a.test"])), AcmeProblem)
        self.assertEqual(self.channel.asked.count("account"), 2)


class RootsTests(SessionCase):
    """The file of roots that the authority is verified with."""

    def setUp(self) -> None:
        super().setUp()
        self.roots = Path(self.mktemp()).absolute()
        self.roots.write_text("wrong ones")
        self.authority = evolve(self.authority, ca_file=str(self.roots))

    def test_mended(self) -> None:
        """A file that is mended is read before the next request, and only then."""
        session = self.session()
        first = self.client(session)
        self.assertIs(self.client(session), first)
        self.assertEqual(self.made, 1)
        self.roots.write_text("the right ones")
        second = self.client(session)
        self.assertIsNot(second, first)
        self.assertIs(self.client(session), second)
        self.assertEqual(self.made, 2)
        self.assertTrue(self.channel.closed)
        self.assertEqual(self.channel.asked.count("account"), 1)

    def test_unreachable_at_first(self) -> None:
        """The same where the authority could not be reached by the first ones at all."""
        request = self.channel.request

        async def failing(method: str, url: str, *more: Any) -> None:
            raise CannotReach(url, "certificate verify failed")

        self.channel.request = failing
        session = self.session()
        self.failureResultOf(Deferred.fromCoroutine(session.client()), CannotReach)
        self.channel.request = request
        self.roots.write_text("the right ones")
        self.client(session)
        self.assertEqual(self.made, 2)

    def test_spoiled(self) -> None:
        """A file that is gone or spoiled is reported once; the former roots stay in use."""
        session = self.session()
        first = self.client(session)
        self.roots.unlink()
        self.patch(self, "make", self.refuse)
        for _ in range(2):
            self.assertIs(self.client(session), first)
        (report,) = self.reports
        self.assertIn("stay as they were: no such file", report)

    def refuse(self) -> None:
        raise OSError("no such file")

    def test_none(self) -> None:
        """Without any that can be read there is no client."""
        self.patch(self, "make", self.refuse)
        self.failureResultOf(Deferred.fromCoroutine(self.session().client()), OSError)
