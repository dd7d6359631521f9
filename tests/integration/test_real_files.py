"""curl through the proxy to nginx, over every kind of upstream connection."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

from tests.support.nginx import Nginx
from tests.support.real_clients import MIB, OverTls, OverUnix, RealCase, digest_of, write_random

NOWHERE = "/dev/null"


class DownloadTests(RealCase):
    """What curl gets of the files that an nginx on a TCP port has."""

    digest: ClassVar[str]

    @classmethod
    def start_upstream(cls) -> Nginx:
        """An nginx with one file."""
        nginx = super().start_upstream()
        cls.digest = write_random(nginx.files / "f", 4)
        return nginx

    def file(self) -> bytes:
        """What the file has in it."""
        return (self.nginx.files / "f").read_bytes()

    def test_get(self) -> None:
        """A file comes whole."""
        self.curl("--fail", "-o", "got", self.url("/f"))
        self.assertEqual(digest_of(self.folder / "got"), self.digest)

    def test_missing(self) -> None:
        """What nginx answers to a missing file is what curl gets."""
        self.assertEqual(self.statuses("-o", NOWHERE, self.url("/none")), [404])

    def test_head(self) -> None:
        """HEAD has the fields of GET and no body, and the connection goes on after it."""
        heads = self.curl("--head", self.url("/f"), self.url("/f")).stdout.decode().lower()
        self.assertEqual(len(re.findall(r"^http/\S+ 200 ", heads, re.MULTILINE)), 2)
        self.assertEqual(heads.count(f"content-length: {4 * MIB}\r\n"), 2)
        connections = self.curl(
            "--head", "-w", "%{num_connects}", "-o", NOWHERE, "-o", NOWHERE,
            self.url("/f"), self.url("/f"),
        ).stdout  # fmt: skip
        self.assertEqual(connections, b"10")

    def test_ranges(self) -> None:
        """One range is 206 with those bytes and no others."""
        content = self.file()
        for asked, expected in (
            ("0-0", content[:1]),
            ("100-99999", content[100:100000]),
            ("4000000-", content[4000000:]),
            ("-1000", content[-1000:]),
        ):
            got = self.curl("--range", asked, "-w", "%{stderr}%{http_code}", self.url("/f"))
            self.assertEqual((got.stderr, got.stdout == expected), (b"206", True), asked)

    def test_ranges_in_parts(self) -> None:
        """Two ranges are 206 in two parts."""
        content = self.file()
        got = self.curl("--include", "--range", "0-99,3000000-3000099", self.url("/f")).stdout
        head, _, body = got.partition(b"\r\n\r\n")
        self.assertRegex(head, rb"^HTTP/\S+ 206 ")
        boundary = re.search(rb"multipart/byteranges; boundary=(\S+)", head)
        assert boundary is not None
        parts = body.split(b"\r\n--" + boundary[1])[1:-1]
        self.assertEqual(
            [part.partition(b"\r\n\r\n")[2] for part in parts],
            [content[:100], content[3000000:3000100]],
        )

    def test_range_outside(self) -> None:
        """A range after the end is 416."""
        status = self.statuses("--range", "99999999-", "-o", NOWHERE, self.url("/f"))
        self.assertEqual(status, [416])

    def test_resume(self) -> None:
        """A download that was broken off is taken up where it ended."""
        (self.folder / "got").write_bytes(self.file()[:1234567])
        self.curl("--continue-at", "-", "-o", "got", self.url("/f"))
        self.assertEqual(digest_of(self.folder / "got"), self.digest)

    def test_conditional(self) -> None:
        """A file that has not changed is 304, one that is not the one meant is 412."""
        discard = ("-o", NOWHERE, self.url("/f"))
        self.curl("--etag-save", "tag", *discard)
        tag = (self.folder / "tag").read_text().strip()
        self.assertEqual(self.statuses("--etag-compare", "tag", *discard), [304])
        self.assertEqual(self.statuses("-H", f"If-Match: {tag}", *discard), [200])
        self.assertEqual(self.statuses("-H", 'If-Match: "other"', *discard), [412])
        since = str(self.nginx.files / "f")
        self.assertEqual(self.statuses("--time-cond", since, *discard), [304])

    def test_chunked(self) -> None:
        """A response that nginx compresses as it goes, and so sends chunked, comes whole."""
        heads = ("--compressed", "--dump-header", "heads")
        self.curl(*heads, "-o", "got", self.url("/f"))
        self.assertEqual(digest_of(self.folder / "got"), self.digest)
        framing = "transfer-encoding: chunked" in (self.folder / "heads").read_text().lower()
        self.assertEqual(framing, self.HTTP == "--http1.1")

    def test_http_1_0(self) -> None:
        """To HTTP/1.0 a known length is said, and an unknown one ends with the connection."""
        for options, framing in (
            ((), f"Content-Length: {4 * MIB}"),
            (("--compressed",), "Content-Encoding: gzip"),
        ):
            heads = ("--dump-header", "heads", "-o", "got")
            self.curl("--http1.0", *options, *heads, self.url("/f"))
            self.assertEqual(digest_of(self.folder / "got"), self.digest)
            fields = (self.folder / "heads").read_text()
            self.assertIn(framing, fields)
            self.assertNotIn("Transfer-Encoding", fields)

    def test_slow_client(self) -> None:
        """A client that reads slowly gets the file whole."""
        self.curl("--limit-rate", "2M", "-o", "got", self.url("/f"))
        self.assertEqual(digest_of(self.folder / "got"), self.digest)

    def test_parallel(self) -> None:
        """200 downloads at once come whole."""
        names = [f"got{number}" for number in range(200)]
        (self.nginx.files / "small").write_bytes(self.file()[: 256 * 1024])
        addresses = [part for name in names for part in ("-o", name, self.url("/small"))]
        parallel = ("--parallel", "--parallel-immediate", "--parallel-max", "200")
        self.assertEqual(self.statuses("--fail", *parallel, *addresses), [200] * 200)
        expected = digest_of(self.nginx.files / "small")
        self.assertEqual({digest_of(self.folder / name) for name in names}, {expected})

    def test_redirect(self) -> None:
        """From the plain port curl is led to the file."""
        plain = f"http://{self.HOST}:{self.proxy.http_port}/f"
        self.curl("--location", "--proto-redir", "=https", "-o", "got", plain)
        self.assertEqual(digest_of(self.folder / "got"), self.digest)


class UploadTests(RealCase):
    """What an nginx on a TCP port stores of the files that curl sends."""

    HEADS: ClassVar[list[str]] = [
        "Expect: 100-continue",
        "HTTP/1.1 100 Continue",
        "HTTP/1.1 200 OK",
    ]

    def stored(self, answer: bytes) -> Path:
        """The file that ``/store`` says it has written."""
        return Path(answer.decode())

    def test_post_of_300_megabytes(self) -> None:
        """A large POST is stored whole, after the 100 (Continue) that curl waits for."""
        digest = write_random(self.folder / "big", 300)
        done = self.curl("--verbose", "--data-binary", "@big", self.url("/store"))
        self.assertEqual(digest_of(self.stored(done.stdout)), digest)
        heads = re.findall(
            r"^[<>] (HTTP/1.1 .*|HTTP/2 .*|Expect: .*)\r$", done.stderr.decode(), re.MULTILINE
        )
        self.assertEqual([head.strip() for head in heads], self.HEADS)

    def test_put(self) -> None:
        """A PUT stores the file, and GET brings it back."""
        digest = write_random(self.folder / "sent", 8)
        url = self.url("/upload/new")
        self.assertEqual(self.statuses("--upload-file", "sent", url), [201])
        self.assertEqual(digest_of(self.nginx.folder / "upload" / "new"), digest)

    def test_chunked(self) -> None:
        """A PUT of unknown length, sent chunked, is stored whole."""
        digest = write_random(self.folder / "sent", 8)
        given = (self.folder / "sent").read_bytes()
        done = self.curl("--verbose", "--upload-file", "-", self.url("/upload/new"), given=given)
        chunked = b"> Transfer-Encoding: chunked" in done.stderr
        self.assertEqual(chunked, self.HTTP == "--http1.1")
        self.assertEqual(digest_of(self.nginx.folder / "upload" / "new"), digest)

    def test_http_1_0(self) -> None:
        """An HTTP/1.0 client's upload is stored whole."""
        digest = write_random(self.folder / "sent", 8)
        done = self.curl("--http1.0", "--data-binary", "@sent", self.url("/store"))
        self.assertEqual(digest_of(self.stored(done.stdout)), digest)

    def test_slow_client(self) -> None:
        """A client that sends slowly has its upload stored whole."""
        digest = write_random(self.folder / "sent", 4)
        done = self.curl("--limit-rate", "2M", "--data-binary", "@sent", self.url("/store"))
        self.assertEqual(digest_of(self.stored(done.stdout)), digest)

    def test_refused(self) -> None:
        """A refusal that comes before the body has been sent reaches curl, however it sends."""
        discard = ("-o", NOWHERE, self.url("/small"))
        for mebibytes, *options in ((40,), (1, "-H", "Expect:"), (1, "--http1.0")):
            write_random(self.folder / "sent", mebibytes)
            statuses = self.statuses("--data-binary", "@sent", *options, *discard)
            self.assertEqual(statuses, [413], options)

    def test_form_with_a_file(self) -> None:
        """A form is stored byte for byte as curl wrote it."""
        (self.folder / "sent").write_bytes(b"0123456789" * 1000)
        done = self.curl("--form", "name=value", "--form", "file=@sent", self.url("/store"))
        form = self.stored(done.stdout).read_bytes()
        self.assertIn(b"0123456789" * 1000, form)
        self.assertTrue(form.endswith(b"--\r\n"))

    def test_parallel(self) -> None:
        """50 uploads at once are stored whole, each as its own."""
        digests = {}
        uploads: list[str] = []
        for number in range(50):
            name = f"sent{number}"
            digests[name] = write_random(self.folder / name, 1)
            uploads += ["--upload-file", name, self.url(f"/upload/{name}")]
        parallel = ("--parallel", "--parallel-immediate", "--parallel-max", "50")
        self.assertEqual(self.statuses(*parallel, *uploads), [201] * 50)
        stored = {name: digest_of(self.nginx.folder / "upload" / name) for name in digests}
        self.assertEqual(stored, digests)


class DownloadsOverHttp2Tests(DownloadTests):
    """The same over HTTP/2."""

    HTTP = "--http2"


class UploadsOverHttp2Tests(UploadTests):
    """The same over HTTP/2, in which curl waits for nothing."""

    HTTP = "--http2"
    HEADS: ClassVar[list[str]] = ["HTTP/2 200"]


class DownloadsOverTlsTests(OverTls, DownloadTests):
    """The same from an upstream that speaks TLS."""


class DownloadsOverUnixTests(OverUnix, DownloadTests):
    """The same from an upstream on a UNIX socket."""


class UploadsOverTlsTests(OverTls, UploadTests):
    """The same to an upstream that speaks TLS."""


class UploadsOverUnixTests(OverUnix, UploadTests):
    """The same to an upstream on a UNIX socket."""
