"""Certificates of a running proxy: renewed files, tickets, and what is about to expire."""

from __future__ import annotations

import datetime
import ssl
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import Authority, Pair
from tests.support.proxy import ADMIN, RunningProxy
from tests.support.raw_client import RawClient, client_context
from tests.support.recording_upstream import RecordingUpstream

REQUEST = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"


class CertificateCase(SynchronousTestCase):
    """A proxy that serves a pair which certbot might have written: links to a generation."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="revproxy-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.authority = Authority(self.folder)
        self.upstream = RecordingUpstream()
        self.addCleanup(self.upstream.stop)
        self.live = Pair(str(self.folder / "fullchain.pem"), str(self.folder / "privkey.pem"))

    def issue(self, number: int, days: float = 90, names: tuple[str, ...] = ("a.test",)) -> Pair:
        """A new pair among the generations."""
        lasts = datetime.timedelta(days=days, seconds=number)
        return self.authority.pair(*names, lasts=lasts)

    def link(self, pair: Pair) -> None:
        """Let the live names lead to ``pair``, each at once."""
        targets = ((pair.cert_path, self.live.cert_path), (pair.key_path, self.live.key_path))
        for target, name in targets:
            temporary = Path(f"{name}.new")
            temporary.symlink_to(target)
            temporary.rename(name)

    def start(self, days: float = 90) -> RunningProxy:
        """The proxy, with a first pair."""
        self.link(self.issue(0, days))
        proxy = RunningProxy(
            {"a.test": self.upstream.address},
            certificates=(self.live,),
            admin_socket_path=ADMIN,
        )
        self.addCleanup(proxy.stop, allow_errors=True)
        proxy.wait_for_line(" START ")
        return proxy

    def presented(self, proxy: RunningProxy) -> bytes:
        """The certificate that a new connection meets."""
        context = client_context()
        context.verify_mode = ssl.CERT_NONE
        with RawClient.tls(proxy.https_port, "a.test", context=context) as client:
            certificate = client.tls_sock.getpeercert(True)
        assert certificate is not None
        return certificate


class RenewalTests(CertificateCase):
    def test_renewed(self) -> None:
        """A renewed pair is presented without a reload; open connections go on."""
        proxy = self.start()
        context = client_context()
        context.verify_mode = ssl.CERT_NONE
        with RawClient.tls(proxy.https_port, "a.test", context=context) as client:
            self.assertEqual(client.ask(REQUEST).status, 200)
            before = self.presented(proxy)
            self.link(self.issue(1))
            proxy.wait_for_line("INFO CERTIFICATE_RELOAD status=success name=a.test", 20)
            self.assertNotEqual(self.presented(proxy), before)
            self.assertEqual(client.ask(REQUEST).status, 200)

    def test_unusable(self) -> None:
        """A pair that does not match is not presented: the last good one is, loudly."""
        proxy = self.start()
        before = self.presented(proxy)
        good, other = self.issue(1), self.issue(2)
        self.link(Pair(good.cert_path, other.key_path))
        proxy.wait_for_line("ERROR CERTIFICATE_RELOAD status=error .*is not the private key", 20)
        self.assertEqual(self.presented(proxy), before)
        (certificate,) = proxy.ask("certs")["certificates"]
        self.assertIn("is not the private key", certificate["error"])
        self.link(good)
        proxy.wait_for_line("INFO CERTIFICATE_RELOAD status=success", 20)
        self.assertNotEqual(self.presented(proxy), before)
        (certificate,) = proxy.ask("certs")["certificates"]
        self.assertIsNone(certificate["error"])

    def test_reload(self) -> None:
        """A reload reads certificates again, too, at once."""
        proxy = self.start()
        before = self.presented(proxy)
        self.link(self.issue(1))
        reply = proxy.ask("reload")
        self.assertEqual(reply["changes"], ["certificate a.test: renewed"])
        self.assertNotEqual(self.presented(proxy), before)


class ExpiryTests(CertificateCase):
    def test_soon(self) -> None:
        """A certificate that is about to expire is a warning."""
        proxy = self.start(days=10)
        proxy.wait_for_line('WARN TLS_CERTIFICATE name=a.test .*"expires in 10.0 days, on 20')

    def test_expires_in_service(self) -> None:
        """One that expires while it is served is an error, and goes on being served."""
        proxy = self.start(days=3 / 86400)
        proxy.wait_for_line("WARN TLS_CERTIFICATE name=a.test")
        proxy.wait_for_line('ERROR TLS_CERTIFICATE name=a.test .*error="expired on 20', 20)
        self.assertEqual(proxy.ask("reload")["status"], "ok")
        self.presented(proxy)


class TicketTests(CertificateCase):
    def test_not_after_renewal(self) -> None:
        """A ticket of the former certificate resumes nothing."""
        proxy = self.start()
        context = client_context()
        context.verify_mode = ssl.CERT_NONE
        session = self.session(proxy, context)
        with RawClient.tls(proxy.https_port, "a.test", context=context, session=session) as again:
            self.assertTrue(again.tls_sock.session_reused)
        self.link(self.issue(1))
        proxy.ask("reload")
        with RawClient.tls(proxy.https_port, "a.test", context=context, session=session) as again:
            self.assertFalse(again.tls_sock.session_reused)

    def session(self, proxy: RunningProxy, context: ssl.SSLContext) -> ssl.SSLSession:
        """A session with a ticket."""
        with RawClient.tls(proxy.https_port, "a.test", context=context) as client:
            client.ask(REQUEST)
            session = client.tls_sock.session
        assert session is not None
        return session
