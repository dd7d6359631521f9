"""Certificates from a real authority, for a running proxy."""

from __future__ import annotations

import shutil
import socket
import ssl
import stat
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.pebble import EAB_HMAC_KEY, EAB_KEY_ID, Pebble
from tests.support.peers import require
from tests.support.proxy import ADMIN, RunningProxy, free_port
from tests.support.raw_client import RawClient
from tests.support.recording_upstream import RecordingUpstream

NAMES = ("a.acme.test", "b.acme.test")
REQUEST = b"GET / HTTP/1.1\r\nHost: a.acme.test\r\n\r\n"
ISSUED = "INFO ACME event=issued"
FAILED = "ACME event=failed"


class AcmeCase(SynchronousTestCase):
    """Pebble, and a proxy that gets its certificates from it."""

    def setUp(self) -> None:
        self.ports = free_port(), free_port()
        folder = tempfile.mkdtemp(prefix="revproxy-acme-")
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        self.cache = Path(folder, "cache")
        self.upstream = RecordingUpstream()
        self.addCleanup(self.upstream.stop)

    def pebble(self, **options: Any) -> Pebble:
        """The authority."""
        self.authority = Pebble(*self.ports, **options)
        self.addCleanup(self.authority.stop)
        return self.authority

    def settings(self, *names: str, **more: Any) -> dict[str, Any]:
        """``[listeners.tls]``."""
        return {
            "mode": "acme",
            "acme_domains": list(names or NAMES),
            "acme_cache_dir": str(self.cache),
            "acme_directory": self.authority.directory,
            "acme_ca_file": self.authority.ca_path,
            "acme_contact": "mailto:admin@acme.test",
            **more,
        }

    def start(self, *names: str, **more: Any) -> RunningProxy:
        """The proxy, with a site for each name."""
        names = names or NAMES
        self.sites = dict.fromkeys(names, self.upstream.address)
        self.proxy = RunningProxy(
            self.sites,
            ports=self.ports,
            tls=self.settings(*names, **more),
            admin_socket_path=ADMIN,
            logging={"level": "trace"},
        )
        self.addCleanup(self.end)
        return self.proxy

    def remembered_error(self) -> str:
        """What the proxy tells of its one certificate, once it has read what it knows of it."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            (told,) = self.proxy.ask("certs")["certificates"]
            if told["error"]:
                return str(told["error"])
            time.sleep(0.02)
        raise AssertionError("no error is told")

    def end(self) -> None:
        """End the proxy, if it runs."""
        if self.proxy.running:
            self.proxy.stop(allow_errors=True)

    def trusting(self) -> ssl.SSLContext:
        """The context of a client that trusts what the authority issues."""
        return ssl.create_default_context(cafile=str(self.authority.root()))

    def assert_verified(self, name: str) -> None:
        """Fail unless openssl s_client verifies what is served for ``name``."""
        command = [require("openssl"), "s_client", "-connect", f"127.0.0.1:{self.ports[1]}"]
        command += ["-servername", name, "-verify_hostname", name, "-verify_return_error"]
        command += ["-CAfile", str(self.authority.root())]
        done = subprocess.run(command, input=b"", capture_output=True, timeout=20, check=False)
        self.assertIn(b"Verify return code: 0 (ok)", done.stdout)

    def presented(self, name: str) -> Any:
        """The certificate that a connection for ``name`` meets, verified."""
        with RawClient.tls(self.proxy.https_port, name, context=self.trusting()) as client:
            return client.tls_sock.getpeercert()


class IssueTests(AcmeCase):
    def test_tls_alpn(self) -> None:
        """Two names are validated on the TLS port, and one certificate for both is served."""
        self.pebble()
        proxy = self.start()
        line = proxy.wait_for_line(ISSUED, 20)
        self.assertIn("challenge=tls-alpn-01", line)
        names = {value for _, value in self.presented(NAMES[0])["subjectAltName"]}
        self.assertEqual(names, set(NAMES))
        with RawClient.tls(proxy.https_port, NAMES[1], context=self.trusting()) as client:
            request = REQUEST.replace(b"a.acme", b"b.acme")
            self.assertEqual(client.ask(request).status, 200)
        proxy.wait_for_line("INFO ACME_VALIDATION client_ip=127.0.0.1 server_name=a.acme.test")

    def test_openssl(self) -> None:
        """openssl s_client verifies the chain for both names, against pebble's root."""
        self.pebble()
        self.start().wait_for_line(ISSUED, 20)
        for name in NAMES:
            self.assert_verified(name)

    def test_http(self) -> None:
        """The same by HTTP-01 on the plain port."""
        self.pebble()
        proxy = self.start(acme_challenge="http-01")
        self.assertIn("challenge=http-01", proxy.wait_for_line(ISSUED, 20))
        self.presented(NAMES[1])
        self.assertTrue(any("/.well-known/acme-challenge/" in line for line in proxy.lines))

    def test_one_for_each_name(self) -> None:
        """Each name has a certificate of its own."""
        self.pebble()
        proxy = self.start(acme_one_certificate_per_name=True)
        for name in NAMES:
            proxy.wait_for_line(f"{ISSUED} name={name} for={name} ", 20)
            self.assertEqual(self.presented(name)["subjectAltName"], (("DNS", name),))

    def test_until_it_is_issued(self) -> None:
        """While the authority is down a self-signed one is served, and readiness says so."""
        self.pebble()
        self.authority.kill()
        proxy = self.start()
        line = proxy.wait_for_line(f"WARN {FAILED}", 20)
        self.assertIn("next_attempt=20", line)
        with self.assertRaises(ssl.SSLCertVerificationError):
            context = ssl.create_default_context()
            RawClient.tls(proxy.https_port, NAMES[0], context=context)
        (told,) = proxy.ask("certs")["certificates"]
        self.assertEqual(told["kind"], "placeholder")
        self.assertIn("refused", told["error"])
        self.authority.start()
        done = proxy.revproxy("certs", "renew", NAMES[1])
        self.assertIn(f"issued for {NAMES[1]}, valid until 20", done.stdout, done.stderr)
        self.presented(NAMES[0])
        (told,) = proxy.ask("certs")["certificates"]
        self.assertEqual((told["kind"], told["error"]), ("acme", None))

    def test_nonces(self) -> None:
        """An authority that refuses every seventh nonce is asked again."""
        self.pebble(environment={"PEBBLE_WFE_NONCEREJECT": "15"})
        self.start().wait_for_line(ISSUED, 30)

    def test_external_account(self) -> None:
        """Where accounts have to be bound to others they are; without the key, that is said."""
        self.pebble(eab=True)
        proxy = self.start()
        line = proxy.wait_for_line(f"ERROR {FAILED}", 20)
        self.assertIn("externalAccountRequired", line)
        key = self.cache.parent / "eab"
        key.write_text(EAB_HMAC_KEY + "\n")
        eab = {"key_id": EAB_KEY_ID, "hmac_key_file": str(key)}
        proxy.write_config(
            self.sites,
            tls=self.settings(acme_eab=eab),
            admin_socket_path=ADMIN,
            logging={"level": "trace"},
        )
        self.assertEqual(proxy.ask("reload")["status"], "ok")
        proxy.ask(f"certs renew {NAMES[0]}")
        self.presented(NAMES[0])
        self.assertFalse(any(EAB_HMAC_KEY in line for line in proxy.lines))

    def test_blocked_name(self) -> None:
        """One name that is refused keeps no other from its certificate, and the error names it."""
        self.pebble(blocked=("blocked.test",))
        proxy = self.start("a.acme.test", "blocked.test")
        proxy.wait_for_line(f"{ISSUED} name=a.acme.test for=a.acme.test ", 20)
        line = proxy.wait_for_line(f"ERROR {FAILED}", 20)
        self.assertIn("blocked.test", line)
        self.presented("a.acme.test")
        (told,) = proxy.ask("certs")["certificates"]
        self.assertIn("blocked.test", told["error"])

    def test_name_that_leads_elsewhere(self) -> None:
        """A name that cannot be validated is told with the authority's words; the rest works."""
        self.pebble().hide("lost.acme.test")
        proxy = self.start("a.acme.test", "lost.acme.test")
        proxy.wait_for_line(f"{ISSUED} name=a.acme.test for=a.acme.test ", 30)
        self.assertIn("lost.acme.test: ", proxy.wait_for_line(f"WARN {FAILED}", 20))
        self.presented("a.acme.test")


class ReloadTests(AcmeCase):
    def test_name_that_is_added(self) -> None:
        """A reload that adds a name orders for all; meanwhile the others keep what they have."""
        self.pebble()
        proxy = self.start(*NAMES)
        proxy.wait_for_line(ISSUED, 20)
        first = self.presented(NAMES[0])
        root = self.authority.root().read_text()
        self.authority.kill()
        names = (*NAMES, "c.acme.test")
        proxy.write_config(
            dict.fromkeys(names, self.upstream.address),
            tls=self.settings(*names),
            admin_socket_path=ADMIN,
            logging={"level": "trace"},
        )
        self.assertEqual(proxy.ask("reload")["status"], "ok")
        proxy.wait_for_line(f"WARN {FAILED}", 20)
        context = ssl.create_default_context(cadata=root)
        with RawClient.tls(proxy.https_port, NAMES[0], context=context) as client:
            self.assertEqual(client.tls_sock.getpeercert(), first)
            self.assertEqual(client.ask(REQUEST).status, 200)
        self.authority.start()
        proxy.ask("certs renew c.acme.test")  # pebble has forgotten the account: it is made anew
        proxy.wait_for_line(f"{ISSUED} .*c.acme.test", 20)
        names_now = {value for _, value in self.presented("c.acme.test")["subjectAltName"]}
        self.assertEqual(names_now, set(names))
        self.assertEqual(self.presented(NAMES[0]), self.presented("c.acme.test"))


class StoreTests(AcmeCase):
    def test_private(self) -> None:
        """Nothing in the cache directory can be read by others, and no secret is in the log."""
        self.pebble()
        proxy = self.start()
        proxy.wait_for_line(ISSUED, 20)
        self.presented(NAMES[0])
        secrets = set()
        for path in (self.cache, *self.cache.rglob("*")):
            mode = stat.S_IMODE(path.stat().st_mode)
            self.assertEqual(mode & 0o077, 0, path)
            if path.suffix == ".pem":
                secrets |= {line for line in path.read_text().splitlines() if len(line) > 40}
        self.assertTrue(secrets)
        log = "\n".join(proxy.lines)
        self.assertFalse([secret for secret in secrets if secret in log])
        self.assertEqual(list((self.cache / "pending").iterdir()), [])

    def test_restart(self) -> None:
        """After a restart the stored certificate is served at once, without the authority."""
        self.pebble()
        self.start().wait_for_line(ISSUED, 20)
        first = self.presented(NAMES[0])
        self.proxy.stop(allow_errors=True)
        root = self.authority.root().read_bytes()
        self.authority.kill()
        self.start()
        context = ssl.create_default_context(cadata=root.decode())
        with RawClient.tls(self.proxy.https_port, NAMES[0], context=context) as client:
            self.assertEqual(client.tls_sock.getpeercert(), first)

    def test_restarts_do_not_reset_the_wait(self) -> None:
        """However often the process is started, the authority is left alone until it is time."""
        self.pebble(blocked=NAMES)
        self.start().wait_for_line(f"ERROR {FAILED}", 20)
        asked = self.authority.output.count("/order-plz")
        for _ in range(2):
            self.proxy.stop(allow_errors=True)
            self.start()
            self.assertIn("policy", self.remembered_error())
        self.assertEqual(self.authority.output.count("/order-plz"), asked)


class DryRunTests(AcmeCase):
    def test_dry_run(self) -> None:
        """A rehearsal orders a certificate that is not served, and touches nothing that is."""
        self.pebble()
        proxy = self.start()
        proxy.wait_for_line(ISSUED, 20)
        before = self.presented(NAMES[0])
        done = proxy.revproxy("certs", "renew", "--dry-run", NAMES[0])
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("issued for", done.stdout)
        self.assertEqual(self.presented(NAMES[0]), before)

    def test_unknown_name(self) -> None:
        """A name that no automatic certificate is for is an error."""
        self.pebble()
        done = self.start().revproxy("certs", "renew", "x.test")
        self.assertEqual(done.returncode, 1)
        self.assertIn("no automatic certificate is for x.test", done.stderr)


class AttackTests(AcmeCase):
    def test_strangers(self) -> None:
        """Who asks for acme-tls/1 while nothing is pending is refused, and gets no certificate."""
        self.pebble()
        self.start().wait_for_line(ISSUED, 20)
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["acme-tls/1"])
        raw = socket.create_connection(("127.0.0.1", self.ports[1]), 5)
        with raw, self.assertRaises(ssl.SSLError) as caught:
            context.wrap_socket(raw, server_hostname=NAMES[0])
        self.assertIn("NO_APPLICATION_PROTOCOL", str(caught.exception).upper().replace(" ", "_"))
