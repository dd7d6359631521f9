"""Test cases against the real proxy and a recording upstream, shared by the tests of a class.

Owns the pair's life (trial knows no ``setUpClass``: the first test of a class starts it, the
last one stops it, and so does another class's first) and the assertions that many tests share.
"""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable, Iterable
from typing import Any, ClassVar
from unittest import defaultTestLoader

from twisted.trial.unittest import SynchronousTestCase

from tests.support.byte_stream import StreamEndedError
from tests.support.proxy import RunningProxy, Sites
from tests.support.raw_client import BadAnswerError, RawClient, Response
from tests.support.recording_upstream import RecordingUpstream

FAILURES = (AssertionError, BadAnswerError, StreamEndedError, OSError)


class _Shared:
    """The proxy and the upstream of the class whose tests run now."""

    owner: ClassVar[type[ProxyCase] | None] = None
    proxy: ClassVar[RunningProxy]
    upstream: ClassVar[RecordingUpstream]
    tests_left: ClassVar[int] = 0

    @classmethod
    def acquire(cls, owner: type[ProxyCase]) -> None:
        if cls.owner is owner:
            return
        cls.release()
        upstream = owner.start_upstream()
        try:
            cls.proxy = RunningProxy(owner.sites(upstream), **owner.overrides())
        except BaseException:
            upstream.stop()
            raise
        cls.upstream = upstream
        cls.tests_left = len(defaultTestLoader.getTestCaseNames(owner))
        cls.owner = owner

    @classmethod
    def test_ended(cls) -> None:
        cls.tests_left -= 1
        if cls.tests_left <= 0:
            cls.release()

    @classmethod
    def release(cls) -> None:
        if cls.owner is not None:
            owner, cls.owner = cls.owner, None
            try:
                cls.proxy.stop()
            finally:
                cls.upstream.stop()
                owner.stop_others()


atexit.register(_Shared.release)


class ProxyCase(SynchronousTestCase):
    """A proxy that serves :attr:`HOST` (and what :meth:`sites` adds) from one upstream.

    Attributes:
        SITE: more fields of the site.
        OVERRIDES: more arguments of :class:`RunningProxy`, unless :meth:`overrides` says.
    """

    HOST: ClassVar[str] = "site.test"
    SITE: ClassVar[dict[str, Any]] = {}
    OVERRIDES: ClassVar[dict[str, Any]] = {}

    @classmethod
    def start_upstream(cls) -> RecordingUpstream:
        """The upstream of the class."""
        return RecordingUpstream()

    @classmethod
    def sites(cls, upstream: RecordingUpstream) -> Sites:
        """The sites of the class."""
        return {cls.HOST: {"upstream": upstream.address, **cls.SITE}}

    @classmethod
    def overrides(cls) -> dict[str, Any]:
        """What the configuration differs in from the builder's defaults."""
        return cls.OVERRIDES

    @classmethod
    def stop_others(cls) -> None:
        """Stop what :meth:`sites` has started beside the upstream."""

    def setUp(self) -> None:
        _Shared.acquire(type(self))
        self.proxy, self.upstream = _Shared.proxy, _Shared.upstream
        self.upstream.forget()
        self.addCleanup(_Shared.test_ended)
        self.addCleanup(self.proxy.check_log)

    def client(self, name: str | None = "", **options: Any) -> RawClient:
        """A TLS connection to the proxy, with SNI :attr:`HOST` unless named."""
        sni = self.HOST if name == "" else name
        client = RawClient.tls(self.proxy.https_port, sni, **options)
        self.addCleanup(client.close)
        return client

    def plain_client(self, **options: Any) -> RawClient:
        """A connection to the plain port."""
        client = RawClient.plain(self.proxy.http_port, **options)
        self.addCleanup(client.close)
        return client

    def request(
        self,
        target: bytes = b"/",
        *fields: bytes,
        method: bytes = b"GET",
        body: bytes = b"",
        version: bytes = b"HTTP/1.1",
        host: bytes | None = None,
    ) -> bytes:
        """A well-formed request for :attr:`HOST`, with ``fields`` as further header lines."""
        lines = [b" ".join([method, target, version])]
        lines.append(b"Host: " + (host if host is not None else self.HOST.encode()))
        lines += fields
        return b"\r\n".join([*lines, b"", body])

    def get(self, target: bytes = b"/", *fields: bytes, **options: Any) -> Response:
        """GET over a fresh TLS connection."""
        with self.client() as client:
            return client.ask(self.request(target, *fields, **options), b"GET")

    def each(self, table: Iterable[Any], check: Callable[..., None]) -> None:
        """``check(*row)`` for every row; every row that fails is named at the end."""
        failures = []
        for row in table:
            arguments = row if isinstance(row, tuple) else (row,)
            try:
                check(*arguments)
            except FAILURES as error:
                shown = ", ".join(repr(argument)[:100] for argument in arguments)
                failures.append(f"[{shown}] {type(error).__name__}: {str(error)[:300]}")
        if failures:
            self.fail("\n".join(["", *failures]))

    def assert_refused(
        self, client: RawClient, raw: bytes, status: int | Iterable[int] = 400
    ) -> Response:
        """``raw`` is answered with one of ``status`` and a close; no second answer follows."""
        allowed = {status} if isinstance(status, int) else set(status)
        response = client.send(raw).read_response()
        self.assertIn(response.status, allowed)
        self.assertTrue(response.complete)
        self.assertEqual(response.value(b"Connection"), b"close")
        self.assertTrue(client.is_closed_by_proxy(), "not closed, or more than one answer")
        client.close()
        return response

    def assert_nothing_forwarded(self) -> None:
        """No byte of an earlier request has reached the upstream."""
        self.assertEqual(self.get(b"/sentinel").status, 200)
        self.assertEqual([request.target for request in self.upstream.requests], [b"/sentinel"])
        sentinel = self.upstream.requests[0].head
        self.assertEqual(self.upstream.received, sentinel)

    def only_request(self) -> Any:
        """The one request that the upstream saw."""
        requests = self.upstream.wait_for_requests(1)
        self.assertEqual(len(requests), 1, [request.head for request in requests])
        return requests[0]

    def assert_quick(self, started: float, at_least: float, at_most: float) -> None:
        """Between ``at_least`` and ``at_most`` seconds have passed since ``started``."""
        elapsed = time.monotonic() - started
        self.assertTrue(at_least <= elapsed <= at_most, f"took {elapsed:.2f} s")
