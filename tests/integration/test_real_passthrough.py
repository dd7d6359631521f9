"""TLS that is passed on by its name: a real nginx that owns the certificate, and curl."""

from __future__ import annotations

import ssl
from typing import Any, ClassVar

from tests.support.passed import NAMES, PassingCase
from tests.support.raw_client import RawClient
from tests.support.real_clients import digest_of, write_random

VERSION = " %{http_version} %{http_code} %{redirect_url}"
ELSEWHERE = "127.0.0.9"
"""A client's address that no other peer has."""


class FromElsewhere(PassingCase):
    """curl from an address of its own.

    Attributes:
        CLIENT: the address.
    """

    CLIENT: ClassVar[str] = ELSEWHERE

    def asked(self, url: str, *arguments: str) -> str:
        """What curl gets, with version, status and where it is led."""
        command = ["--interface", self.CLIENT, "--write-out", VERSION, *arguments, url]
        return self.curl(*command).stdout.decode().strip()


class PassingTests(FromElsewhere):
    """One port for sites, and for the hosts of a backend.

    Attributes:
        MEBIBYTES: how much is carried.
    """

    MEBIBYTES: ClassVar[int] = 100

    def test_site(self) -> None:
        """TLS of a site is ended here, with the proxy's certificate."""
        self.assertEqual(self.asked(self.url("/small")), "ended here 2 200")

    def test_backend(self) -> None:
        """The backend speaks HTTP/2 with the client, and knows and logs its address."""
        told = self.asked(self.url("/who", "cloud.test"))
        self.assertEqual(told, f"{self.CLIENT} HTTP/2.0 cloud.test cloud.test 2 200")
        self.behind.wait_for_log(f"{self.CLIENT} HTTP/2.0 cloud.test cloud.test /who")
        record = self.proxy.wait_for_line(f"STREAM client_ip={self.CLIENT} sni=cloud.test ")
        self.assertIn(f" upstream={self.behind.tls_address} bytes_in=", record)
        self.assertNotIn("cut=", record)

    def test_wildcard(self) -> None:
        """A label before a wildcard's name is passed on too; a site within it is not."""
        told = self.asked(self.url("/who", "x.cloud.test"))
        self.assertEqual(told, f"{self.CLIENT} HTTP/2.0 x.cloud.test x.cloud.test 2 200")
        self.assertEqual(self.asked(self.url("/small", "here.cloud.test")), "ended here 2 200")

    def test_large(self) -> None:
        """A large download is whole, and so is a large upload."""
        digest = write_random(self.behind.files / "large", self.MEBIBYTES)
        self.addCleanup((self.behind.files / "large").unlink)
        self.curl("--max-time", "600", "--output", "down", self.url("/large", "cloud.test"))
        self.assertEqual(digest_of(self.folder / "down"), digest)
        self.curl(
            *("--max-time", "600", "--fail", "--upload-file", "down"),
            self.url("/upload/up", "cloud.test"),
        )
        self.assertEqual(digest_of(self.behind.folder / "upload" / "up"), digest)
        self.behind.forget()


class PassingOverV6Tests(PassingTests):
    """The same, where clients come over IPv6 and the backend is reached over IPv4."""

    CLIENT = "::1"
    LISTENER: ClassVar[dict[str, Any]] = {"bind_addr": "::1"}
    MEBIBYTES = 10


class NameTests(PassingCase):
    """Names, as TLS clients may write them."""

    def tls(self, name: str | None) -> RawClient:
        """A TLS connection to the proxy's port."""
        client = RawClient.tls(self.proxy.https_port, name)
        self.addCleanup(client.close)
        return client

    def names(self, name: str | None) -> list[str]:
        """The names of the certificate that is presented."""
        certificate = self.tls(name).tls_sock.getpeercert() or {}
        return [str(value) for _, value in certificate["subjectAltName"]]  # type: ignore[misc]

    def test_certificates(self) -> None:
        """The certificate is the backend's, however its name is written; the site's is ours."""
        for name in ("cloud.test", "x.cloud.test", "X.Cloud.TEST"):
            self.assertEqual(self.names(name), ["cloud.test", "*.cloud.test"])
        for name in ("site.test", "here.cloud.test"):
            self.assertEqual(self.names(name), ["site.test", "here.cloud.test"])

    def test_unknown(self) -> None:
        """A name that nobody has is refused by an alert, and so is a client without a name."""
        for name in ("unknown.test", "a.x.cloud.test", None):
            with self.assertRaises(ssl.SSLError) as caught:
                self.tls(name)
            self.assertIn("UNRECOGNIZED_NAME", str(caught.exception))
            line = f"WARN TLS_REFUSED client_ip=127.0.0.1 server_name={name or '-'} "
            self.proxy.wait_for_line(line)


class DefaultTests(NameTests):
    """``default_passthrough``: names that nobody has go to a backend, with a PROXY header."""

    @classmethod
    def overrides(cls) -> dict[str, Any]:
        """A backend for the rest."""
        given = super().overrides()
        given["listener"]["default_passthrough"] = cls.behind.rest_address
        return given

    def test_unknown(self) -> None:
        """A name that nobody has is passed on, and so is a client without a name."""
        for name in ("unknown.test", "a.x.cloud.test", None):
            client = RawClient.tls(self.proxy.https_port, name, source=ELSEWHERE)
            self.addCleanup(client.close)
            response = client.ask(b"GET / HTTP/1.1\r\nHost: any\r\n\r\n")
            self.assertEqual(response.body.decode(), f"the rest {ELSEWHERE} {name or ''}")
            client.close()
            record = self.proxy.wait_for_line(f"STREAM client_ip=.* sni={name or '-'} ")
            self.assertIn(f"={ELSEWHERE} ", record)
            self.assertIn(f" upstream={self.behind.rest_address} ", record)


class PlainPortTests(FromElsewhere):
    """The plain port for hosts whose backend has one, too."""

    HTTP = "--http1.1"

    @classmethod
    def passthrough(cls) -> list[dict[str, Any]]:
        """Some have, some have not."""
        return [
            {
                "hosts": NAMES,
                "upstream": cls.behind.tls_address,
                "http_upstream": cls.behind.plain_address,
            },
            {"hosts": ["other.test"], "upstream": cls.behind.tls_address},
        ]

    def test_proxied(self) -> None:
        """Requests go to the backend, which is told of the client; there is no redirect."""
        for host in ("cloud.test", "x.cloud.test"):
            url = self.plain_url("/a/b?c=d", host)
            name = f"{host}:{self.proxy.http_port}"
            who = f"{self.CLIENT} {self.CLIENT} {self.CLIENT} http {name}"
            self.assertEqual(self.asked(url), f"{who} GET /a/b?c=d 1.1 200")
            told = self.asked(url, "--data", "x=y")
            self.assertEqual(told, f"{who} POST /a/b?c=d 1.1 200")
        self.behind.wait_for_log(f"{self.CLIENT} HTTP/1.1 - cloud.test /a/b?c=d")
        self.proxy.wait_for_line(
            f"REQUEST client_ip={self.CLIENT} host=cloud.test method=POST path=/a/b status=200 "
            f"upstream={self.behind.plain_address} "
        )

    def test_forged(self) -> None:
        """What a client says of its own address is not passed on."""
        forged = [
            word
            for name in ("X-Real-IP", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host")
            for word in ("--header", f"{name}: 192.0.2.1")
        ]
        self.assertNotIn("192.0.2.1", self.asked(self.plain_url("/", "cloud.test"), *forged))

    def test_challenge(self) -> None:
        """The authority that validates the backend's names reaches the backend."""
        path = "/.well-known/acme-challenge/a-token"
        told = self.asked(self.plain_url(path, "cloud.test"))
        self.assertTrue(told.endswith(f" GET {path} 1.1 200"), told)

    def test_redirected(self) -> None:
        """Without a plain backend a host is led to https, as a site is."""
        for host in ("other.test", self.HOST, "here.cloud.test"):
            told = self.asked(self.plain_url("/a?b", host))
            where = f"https://{host}:{self.proxy.https_port}/a?b"
            self.assertEqual(told, f"Moved Permanently 1.1 301 {where}")

    def test_unknown(self) -> None:
        """A host that nobody has is not found."""
        self.assertEqual(self.asked(self.plain_url("/", "unknown.test")), "Not Found 1.1 404")


class PlainPortOverV6Tests(PlainPortTests):
    """The same over IPv6."""

    CLIENT = "::1"
    LISTENER: ClassVar[dict[str, Any]] = {"bind_addr": "::1"}
