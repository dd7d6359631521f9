"""An account with an authority: made once, its key on disk before, and found again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from revproxy.model.configuration import ExternalAccount
from revproxy.tls.acme.accounts import Accounts
from revproxy.tls.acme.client import Client
from revproxy.tls.acme.problem import AcmeProblem, CannotReach
from revproxy.tls.acme.requests import Requests
from revproxy.tls.acme.session import Session, check_authority
from revproxy.tls.acme.wanted import Authority
from tests.support.certificates import authority as roots
from tests.support.fake_ca import BASE, DIRECTORY, FakeAuthority, problem
from tests.support.jose import protected_of, verify_mac
from tests.support.tls_peers import NOW

CONTACT = "mailto:a@b.test"
LOST = problem("accountDoesNotExist")


class SessionCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock: Any = Clock()
        self.there = FakeAuthority(lambda: NOW)
        self.folder = Path(self.mktemp()).absolute()
        self.authority = Authority(self.folder, DIRECTORY, CONTACT)
        self.reports: list[str] = []
        self.threads: list[Deferred[None]] | None = None
        self.begin()

    def begin(self) -> None:
        """As a process does that has just been started."""
        channel: Any = self.there

        def requests(authority: Authority) -> Requests:
            return Requests(channel, self.clock, lambda: NOW, lambda: 0.5)

        self.session = Session(self.authority, requests, self.in_thread, self.reports.append)

    async def in_thread(self, call: Callable[[], Any]) -> Any:
        if self.threads is not None:
            self.threads.append(Deferred())
            await self.threads[-1]
        return call()

    def client(self) -> Client:
        return self.successResultOf(Deferred.fromCoroutine(self.session.client()))

    def failed(self, kind: type[Exception]) -> Any:
        asking = Deferred.fromCoroutine(self.session.client())
        return self.failureResultOf(asking, kind).value

    def forget(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.session.forget_account()))

    def files(self) -> dict[str, bytes]:
        """The account's files."""
        folder = Accounts(self.folder, self.reports.append).folder(DIRECTORY)
        return {path.name: path.read_bytes() for path in folder.glob("*")}

    def keys(self) -> list[Any]:
        """The keys that accounts were asked for with."""
        return [each["jwk"] for path, each, _ in self.there.heard if path == "account"]


class AccountTests(SessionCase):
    def test_once(self) -> None:
        """However often it is asked for, the account is made once, with its contact."""
        self.assertIs(self.client(), self.client())
        expected = {"termsOfServiceAgreed": True, "contact": [CONTACT]}
        self.assertEqual(self.there.payloads("account"), [expected])
        known = json.loads(self.files()["account.json"])
        self.assertEqual((known["kid"], known["contact"]), (f"{BASE}/account/1", [CONTACT]))

    def test_at_once(self) -> None:
        """Certificates that need it at the same time share it."""
        self.threads = []
        asking = [Deferred.fromCoroutine(self.session.client()) for _ in range(3)]
        while self.threads:
            self.threads.pop(0).callback(None)
        found = {id(self.successResultOf(each)) for each in asking}
        self.assertEqual((len(found), len(self.keys())), (1, 1))

    def test_key_first(self) -> None:
        """The key is on disk before the authority hears of it."""
        self.there.refuse("account", 500, b"down")
        asked: list[set[str]] = []
        real = self.there.request

        async def request(method: str, url: str, *rest: Any) -> Any:
            if url == f"{BASE}/account":
                asked.append(set(self.files()))
            return await real(method, url, *rest)

        self.patch(self.there, "request", request)
        self.failed(AcmeProblem)
        self.assertEqual(asked, [{"account.pem"}])

    def test_after_a_crash(self) -> None:
        """Who died before it had the answer asks by the same key, which finds the account."""
        self.there.refuse("account", 500, b"down")
        self.failed(AcmeProblem)
        self.begin()
        self.client()
        first, second = self.keys()
        self.assertEqual(first, second)

    def test_restart(self) -> None:
        """The next process asks the authority nothing."""
        key = self.client().key.jwk
        self.begin()
        asked = len(self.there.asked)
        self.assertEqual(self.client().key.jwk, key)
        self.assertEqual(self.client().account_url, f"{BASE}/account/1")
        self.assertEqual(len(self.there.asked), asked)

    def test_no_contact(self) -> None:
        """Without a contact none is told."""
        self.authority = evolve(self.authority, contact="")
        self.begin()
        self.client()
        self.assertEqual(self.there.payloads("account"), [{"termsOfServiceAgreed": True}])

    def test_new_contact(self) -> None:
        """Another contact is told to the authority, once."""
        self.client()
        self.authority = evolve(self.authority, contact="mailto:c@d.test")
        for _ in range(2):
            self.begin()
            self.client()
        self.assertEqual(self.there.payloads("account/1"), [{"contact": ["mailto:c@d.test"]}])
        self.assertEqual(len(self.keys()), 1)

    def test_refused(self) -> None:
        """A failure is the caller's, and the next one tries again."""
        self.there.refuse("dir", 503, b"")
        self.failed(AcmeProblem)
        self.there.refuse("account", 200, b"{}")
        self.failed(CannotReach)  # no URL
        self.assertNotIn("account.json", self.files())
        self.client()

    def test_key_that_others_may_read(self) -> None:
        """A key that others may have read is not used, nor is another made in its place."""
        self.client()
        folder = Accounts(self.folder, self.reports.append).folder(DIRECTORY)
        (folder / "account.pem").chmod(0o644)
        self.begin()
        self.assertIn("open to other users", str(self.failed(ValueError)))
        self.assertEqual(len(self.keys()), 1)


class LostTests(SessionCase):
    def test_forgotten(self) -> None:
        """An account that the authority does not know is asked for by the same key."""
        self.client()
        self.forget()
        self.assertNotIn("account.json", self.files())
        self.client()
        first, second = self.keys()
        self.assertEqual(first, second)

    def test_key_that_went(self) -> None:
        """A key file that is broken is put aside, and another account is made."""
        self.client()
        folder = Accounts(self.folder, self.reports.append).folder(DIRECTORY)
        (folder / "account.pem").write_bytes(b"broken")
        self.begin()
        self.client()
        first, second = self.keys()
        self.assertNotEqual(first, second)
        self.assertEqual(len(self.reports), 1)


class ExternalTests(SessionCase):
    def bind(self, content: bytes | None) -> None:
        """Bind accounts to an external one with this HMAC key file."""
        path = Path(self.mktemp()).absolute()
        if content is not None:
            path.write_bytes(content)
        self.authority = evolve(self.authority, eab=ExternalAccount("kid-1", str(path)))
        self.begin()

    def test_bound(self) -> None:
        """The account is bound by the key in the file, padded or not, with a line end or not."""
        for content in (b"a2V5LWtleS1rZXk", b"a2V5LWtleS1rZXk=\n"):
            self.setUp()
            self.bind(content)
            self.client()
            binding = self.there.payloads("account")[0]["externalAccountBinding"]
            verify_mac(binding, b"key-key-key")
            self.assertEqual(protected_of(binding)["kid"], "kid-1")

    def test_not_needed_any_more(self) -> None:
        """Once there is an account, the file may go."""
        self.bind(b"a2V5LWtleS1rZXk")
        self.client()
        self.bind(None)
        self.client()
        self.assertEqual(len(self.keys()), 1)

    def test_no_key(self) -> None:
        """A file without such a key is told by its name, and nothing of it is."""
        secret = b"not base64url: secret"
        for content in (b"", b"short", b"a+b/c+d/e+f/", secret, b"a2V5LWtlb", b"a" * 5000):
            self.bind(content)
            assert self.authority.eab is not None
            path = self.authority.eab.hmac_key_file
            told = str(self.failed(ValueError))
            self.assertIn(path, told)
            for piece in filter(None, (content[:8].decode(), "secret")):
                self.assertNotIn(piece, told.replace(path, ""))
        self.assertEqual(self.keys(), [])

    def test_no_file(self) -> None:
        """A missing one is an error of the disk, and no account is made without it."""
        self.bind(None)
        self.failed(OSError)
        self.assertEqual(self.keys(), [])


class EndTests(SessionCase):
    def test_close(self) -> None:
        """Closing closes the connections, and is nothing where there are none."""
        for _ in range(2):
            self.successResultOf(Deferred.fromCoroutine(self.session.close()))
        self.assertFalse(self.there.closed)
        self.client()
        self.successResultOf(Deferred.fromCoroutine(self.session.close()))
        self.assertTrue(self.there.closed)

    def test_cancelled(self) -> None:
        """Who is cancelled while it waits or while it asks keeps no other from asking."""
        self.threads = []
        asking, waiting, third = (Deferred.fromCoroutine(self.session.client()) for _ in range(3))
        waiting.cancel()
        asking.cancel()
        for each in (waiting, asking):
            self.failureResultOf(each, CancelledError)
        while self.threads:
            one = self.threads.pop(0)
            if not one.called:
                one.callback(None)
        self.successResultOf(third)


class CheckTests(SessionCase):
    def checks(self, **changes: Any) -> dict[str, str]:
        return dict(check_authority(evolve(self.authority, **changes)))

    def test_nothing(self) -> None:
        """Nothing is wrong with a directory that can be made, and it is not made."""
        self.assertEqual(self.checks(ca_file=roots().ca_path), {})
        self.assertFalse(self.folder.exists())

    def test_each(self) -> None:
        """What would stop every order is told by its setting."""
        file = Path(self.mktemp()).absolute()
        file.write_bytes(b"secret content")
        eab = ExternalAccount("kid-1", str(file))
        found = self.checks(cache_dir=file / "below", ca_file=str(file), eab=eab)
        self.assertEqual(set(found), {"acme_cache_dir", "acme_ca_file", "acme_eab"})
        for sentence in found.values():
            self.assertIn(str(file), sentence)
            self.assertNotIn("secret", sentence)

    def test_missing(self) -> None:
        """So are files that are not there."""
        eab = ExternalAccount("kid-1", "/nonexistent/eab")
        found = self.checks(ca_file="/nonexistent/ca", eab=eab)
        self.assertIn("/nonexistent/ca cannot be used: No such file", found["acme_ca_file"])
        self.assertIn("/nonexistent/eab cannot be used: No such file", found["acme_eab"])
