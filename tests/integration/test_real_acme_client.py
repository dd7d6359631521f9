"""The client's own requests to a real authority: accounts, keys, chains, revocation."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from revproxy.tls.acme.channel import https_channel
from revproxy.tls.acme.client import Client
from revproxy.tls.acme.jws import AccountKey
from revproxy.tls.acme.problem import AcmeProblem, CannotReach
from revproxy.tls.acme.requests import Requests
from revproxy.tls.acme.resources import Order
from revproxy.tls.acme.validation import csr, new_key
from tests.support.pebble import EAB_HMAC_KEY, EAB_KEY_ID, Pebble
from tests.support.tls_peers import NOW

NAMES = ("a.acme.test", "b.acme.test")


class ClientCase(TestCase):
    """Pebble, which holds every name for validated, and a client of it."""

    timeout = 30

    def start(self, *, eab: bool = False, **environment: str) -> Client:
        """The authority, and a client without an account."""
        always = {"PEBBLE_VA_ALWAYS_VALID": "1", **environment}
        self.authority = Pebble(1, 2, eab=eab, environment=always)
        self.addCleanup(self.authority.stop)
        self.channel = https_channel(reactor, lambda: NOW, self.authority.ca_path)
        self.addCleanup(self.close)
        return self.client(AccountKey.generate())

    async def close(self) -> None:
        await self.channel.close()

    def client(self, key: AccountKey, account_url: str = "") -> Client:
        """A client with its own nonces."""
        requests = Requests(self.channel, reactor, lambda: NOW, lambda: 0.5)
        return Client(requests, self.authority.directory, key, account_url)

    async def refused(self, asking: Any, code: str) -> None:
        with self.assertRaises(AcmeProblem) as caught:
            await asking
        self.assertEqual(caught.exception.problem.code, code)
        self.assertTrue(caught.exception.problem.detail)

    async def order(self, client: Client, *names: str) -> Order:
        """An order that was finalized, and has its certificate."""
        order = await client.new_order(names or NAMES)
        for url in order.authorizations:
            found = await client.authorization(url)
            await client.answer(found.challenges[0])
            self.assertEqual((await client.wait_authorization(url, 10)).status, "valid")
        order = await client.wait_order(order.url, {"ready"}, 10)
        order = await client.finalize(order, csr(names or NAMES, new_key()))
        return await client.wait_order(order.url, {"valid", "invalid"}, 10)


class AccountTests(ClientCase):
    async def test_found(self) -> None:
        """A key that has an account finds it, and one that has none makes none unasked."""
        client = self.start()
        url = await client.new_account(["mailto:a@acme.test"])
        again = self.client(client.key)
        self.assertEqual(await again.new_account(only_existing=True), url)
        self.assertEqual(await again.new_account(), url)
        stranger = self.client(AccountKey.generate())
        await self.refused(stranger.new_account(only_existing=True), "accountDoesNotExist")

    async def test_contact(self) -> None:
        """The contact can be changed, and to one that is none it cannot."""
        client = self.start()
        await client.new_account()
        await client.update_contact(["mailto:b@acme.test"])
        with self.assertRaises(AcmeProblem):
            await client.update_contact(["tel:12345"])

    async def test_rollover(self) -> None:
        """After a change of the key the new one is the account's, and the old one is nobody's."""
        client = self.start()
        url = await client.new_account()
        old, new = client.key, AccountKey.generate()
        await client.change_key(new)
        self.assertEqual(await self.client(new).new_account(only_existing=True), url)
        self.assertEqual((await self.order(client)).status, "valid")
        await self.refused(self.client(old).new_account(only_existing=True), "accountDoesNotExist")
        with self.assertRaises(AcmeProblem):
            await self.client(old, url).new_order(NAMES)

    async def test_rollover_to_another_kind(self) -> None:
        """A key on P-256 is replaced by one of RSA and the other way round."""
        client = self.start()
        await client.new_account()
        for key in (AccountKey(rsa.generate_private_key(65537, 2048)), AccountKey.generate()):
            await client.change_key(key)
            await client.new_order(NAMES)

    async def test_rollover_to_a_key_in_use(self) -> None:
        """The key of another account is refused, and the old one stays."""
        client = self.start()
        await client.new_account()
        other = self.client(AccountKey.generate())
        await other.new_account()
        key = client.key
        with self.assertRaises(AcmeProblem):
            await client.change_key(other.key)
        self.assertIs(client.key, key)
        await client.new_order(NAMES)

    async def test_external(self) -> None:
        """An account is bound by the right HMAC key, and by no other."""
        client = self.start(eab=True)
        await self.refused(client.new_account(), "externalAccountRequired")
        for wrong in ((EAB_KEY_ID, b"x" * 32), ("kid-2", b"x" * 32)):
            with self.assertRaises(AcmeProblem):
                await client.new_account(eab=wrong)
        key = urlsafe_b64decode(EAB_HMAC_KEY + "==")
        self.assertTrue(await client.new_account(eab=(EAB_KEY_ID, key)))

    async def test_forgotten(self) -> None:
        """An authority that has lost its accounts says so."""
        client = self.start()
        await client.new_account()
        self.authority.kill()
        with self.assertRaises(CannotReach):
            await client.new_order(NAMES)
        self.authority.start()
        await self.refused(client.new_order(NAMES), "accountDoesNotExist")


class CertificateTests(ClientCase):
    async def test_chains(self) -> None:
        """Every chain of a certificate is fetched, each to another root."""
        client = self.start(PEBBLE_ALTERNATE_ROOTS="2")
        await client.new_account()
        chains = await client.chains((await self.order(client)).certificate)
        parsed = [x509.load_pem_x509_certificates(chain) for chain in chains]
        self.assertEqual(len({chain[0].serial_number for chain in parsed}), 1)
        self.assertEqual(len({chain[-1].fingerprint(SHA256()) for chain in parsed}), 3)

    async def test_revoked(self) -> None:
        """A certificate is revoked once, and by its account alone."""
        client = self.start()
        await client.new_account()
        pem = await client.certificate((await self.order(client)).certificate)
        der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
        stranger = self.client(AccountKey.generate())
        await stranger.new_account()
        await self.refused(stranger.revoke(der), "unauthorized")
        await client.revoke(der, 4)
        await self.refused(client.revoke(der), "alreadyRevoked")

    async def test_addresses(self) -> None:
        """Addresses are ordered like names."""
        client = self.start()
        await client.new_account()
        names = ("127.0.0.1", "a.acme.test")
        order = await self.order(client, *names)
        self.assertEqual(set(order.identifiers), set(names))
        leaf = x509.load_pem_x509_certificate(await client.certificate(order.certificate))
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual([str(one.value) for one in found], ["a.acme.test", "127.0.0.1"])
        self.assertIsNone(await client.renewal_window(leaf))  # it suggests nothing

    async def test_given_up(self) -> None:
        """An authorization that is given up is so."""
        client = self.start()
        await client.new_account()
        order = await client.new_order(NAMES)
        await client.deactivate_authorization(order.authorizations[0])
        found = await client.authorization(order.authorizations[0])
        self.assertEqual(found.status, "deactivated")

    async def test_nonces(self) -> None:
        """Where a fifth of the nonces is refused all is as ever."""
        client = self.start(PEBBLE_WFE_NONCEREJECT="20")
        await client.new_account()
        self.assertEqual((await self.order(client)).status, "valid")

    async def test_refused(self) -> None:
        """What is wrong with a request is told in the authority's words."""
        client = self.start()
        await client.new_account()
        await self.refused(client.new_order(["no name"]), "malformed")
        order = await client.new_order(NAMES)
        await self.refused(client.finalize(order, b"x"), "orderNotReady")
        with self.assertRaises(AcmeProblem) as caught:
            await client.order(order.url + "0")
        self.assertEqual(caught.exception.problem.status, 404)
