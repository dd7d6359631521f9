"""Reloading a running proxy: what changes, what stays, and what nobody notices."""

from __future__ import annotations

import signal
import threading
from typing import Any, ClassVar

from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import authority
from tests.support.proxy import ADMIN, RunningProxy
from tests.support.raw_client import RawClient, Response
from tests.support.recording_upstream import Answer, Conversation, RecordingUpstream

PAIR = authority().pair("one.test", "two.test", "three.test")


def request(host: str, path: str = "/", *fields: str) -> bytes:
    """A GET."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", *fields, "", ""]
    return "\r\n".join(lines).encode()


class ReloadCase(SynchronousTestCase):
    """A proxy of its own, with an admin socket, in front of two upstreams."""

    OVERRIDES: ClassVar[dict[str, Any]] = {}

    def setUp(self) -> None:
        self.first, self.second = RecordingUpstream(), RecordingUpstream()
        self.addCleanup(self.first.stop)
        self.addCleanup(self.second.stop)
        self.overrides: dict[str, Any] = {
            "admin_socket_path": ADMIN,
            "certificates": (PAIR,),
            **self.OVERRIDES,
        }
        self.proxy = RunningProxy({"one.test": self.first.address}, **self.overrides)
        self.addCleanup(self.proxy.stop, allow_errors=True)
        self.proxy.wait_for_line(" START ")

    def client(self, name: str = "one.test") -> RawClient:
        """A TLS connection."""
        client = RawClient.tls(self.proxy.https_port, name)
        self.addCleanup(client.close)
        return client

    def get(self, host: str, path: str = "/") -> Response:
        """What a new connection is answered."""
        with RawClient.tls(self.proxy.https_port, host) as client:
            return client.ask(request(host, path))

    def reload(self, sites: dict[str, Any], **changes: Any) -> dict[str, Any]:
        """Write another configuration and reload it; the reply."""
        self.proxy.write_config(sites, **{**self.overrides, **changes})
        return self.proxy.ask("reload")


class ReloadTests(ReloadCase):
    def test_sites(self) -> None:
        """Sites that are added are served, those that are removed are not, in one step."""
        reply = self.reload({"two.test": self.second.address})
        self.assertEqual((reply["status"], reply["changed"], reply["sites"]), ("ok", True, 1))
        self.assertEqual(self.get("two.test").status, 200)
        self.assertEqual(self.get("one.test").status, 404)
        self.assertEqual(len(self.second.requests), 1)

    def test_exchange_under_way(self) -> None:
        """An exchange ends with what it began with, whatever is served meanwhile."""

        def script(conversation: Conversation) -> None:
            conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nbegun")
            self.resume.wait(10)
            conversation.send(b"ended")

        self.resume = threading.Event()
        self.addCleanup(self.resume.set)
        self.first.answers[b"/slow"] = script
        client = self.client()
        client.send(request("one.test", "/slow"))
        client.stream.until(b"begun")
        self.assertEqual(self.reload({"one.test": self.second.address})["status"], "ok")
        self.assertEqual(self.get("one.test", "/new").status, 200)
        self.assertEqual([one.target for one in self.second.requests], [b"/new"])
        self.resume.set()
        self.assertEqual(client.stream.exactly(5), b"ended")
        self.assertEqual(client.ask(request("one.test", "/next")).status, 200)
        self.assertEqual([one.target for one in self.second.requests], [b"/new", b"/next"])
        self.first.wait_until(lambda: not self.first.open_connections)

    def test_unchanged_upstream(self) -> None:
        """The upstream connections of a site that has not changed are used on."""
        client = self.client()
        client.ask(request("one.test"))
        reply = self.reload({"one.test": self.first.address, "two.test": self.second.address})
        self.assertEqual(reply["generation"], 2)
        client.ask(request("one.test"))
        self.assertEqual(self.first.connections, 1)

    def test_nothing_changed(self) -> None:
        """A configuration that is the same changes nothing, and that is said."""
        reply = self.reload({"one.test": self.first.address})
        self.assertEqual((reply["changed"], reply["generation"]), (False, 1))
        self.proxy.wait_for_line("CONFIG_RELOAD status=success sites=1 generation=1 changed=false")

    def test_mistakes(self) -> None:
        """Every mistake is told with its place, and everything goes on as it was."""
        text = self.proxy.config_path.read_text()
        self.proxy.config_path.write_text(text.replace("burst = ", "brust = "))
        reply = self.proxy.ask("reload")
        self.assertEqual(reply["status"], "error")
        self.assertTrue(reply["message"].startswith("config validation failed: rate_limit.b"))
        self.assertEqual(
            [mistake["path"] for mistake in reply["errors"]],
            ["rate_limit.brust"],
        )
        self.assertEqual(self.get("one.test").status, 200)
        self.assertEqual(self.proxy.ask("status")["generation"], 1)

    def test_unusable_certificate(self) -> None:
        """A certificate that cannot be read refuses the whole reload."""
        reply = self.reload(
            {"two.test": self.second.address}, tls={"cert_path": "/nonexistent.pem"}
        )
        self.assertIn("listeners[0].tls: /nonexistent.pem: cannot be read", reply["message"])
        self.assertEqual(self.get("one.test").status, 200)

    def test_unusable_log(self) -> None:
        """So does a site's log file that cannot be opened, and nothing of the rest is applied."""
        site = {"upstream": self.second.address, "log_file_path": "/nonexistent/site.log"}
        reply = self.reload({"two.test": site})
        self.assertIn("/nonexistent/site.log: cannot be opened", reply["message"])
        self.assertEqual(self.get("one.test").status, 200)
        self.assertEqual(self.get("two.test").status, 404)

    def test_restart_required(self) -> None:
        """What is static is named, once in the log, and the rest is applied."""
        changes = {"logging": {"level": "debug"}, "listener": {"https_port": 1}}
        for _ in range(2):
            reply = self.reload({"two.test": self.second.address}, **changes)
            self.assertEqual(
                reply["restart_required"], ["logging.level", "listeners[0].https_port"]
            )
        self.assertEqual(self.get("two.test").status, 200)
        self.proxy.ask("reopen-logs")
        self.proxy.wait_for_line("ADMIN command=reopen-logs ")
        said = [line for line in self.proxy.lines if "restart required: " in line]
        self.assertEqual(len(said), 1)

    def test_diff(self) -> None:
        """``reload --diff`` says what would change, and changes nothing."""
        self.proxy.write_config({"two.test": self.second.address}, **self.overrides)
        shown = self.proxy.revproxy("reload", "--diff")
        self.assertEqual(
            (shown.returncode, shown.stdout.splitlines()),
            (0, ["site one.test: removed", "site two.test: added"]),
        )
        self.assertEqual(self.get("one.test").status, 200)
        self.assertEqual(self.proxy.ask("status")["generation"], 1)

    def test_many_at_once(self) -> None:
        """However many reloads are asked for at once, the last file is served."""
        for number in range(20):
            host = "two.test" if number % 2 else "three.test"
            self.proxy.write_config({host: self.second.address}, **self.overrides)
            self.proxy.send_signal(signal.SIGHUP)
        self.proxy.ask("reload")
        self.assertEqual(self.get("two.test").status, 200)
        self.assertEqual(self.get("three.test").status, 404)


class RateLimitTests(ReloadCase):
    OVERRIDES: ClassVar[dict[str, Any]] = {
        "rate_limit": {"requests_per_second": 0.01, "burst": 3},
    }

    def test_buckets_are_kept(self) -> None:
        """A reload gives nobody a fresh bucket; the new burst applies with the next request."""
        client = self.client()
        statuses = [client.ask(request("one.test")).status for _ in range(4)]
        self.assertEqual(statuses, [200, 200, 200, 429])
        rate = {"requests_per_second": 0.01, "burst": 100}
        self.reload({"one.test": self.first.address}, rate_limit=rate)
        self.assertEqual(client.ask(request("one.test")).status, 429)


class PortTests(ReloadCase):
    def test_limits(self) -> None:
        """Limits and timeouts of the new configuration hold for connections that are open."""
        client = self.client()
        client.ask(request("one.test"))
        self.reload({"one.test": self.first.address}, limits={"request_target_bytes": 64})
        self.assertEqual(client.ask(request("one.test", "/" + "x" * 100)).status, 414)

    def test_holds_with_hanging_upstream(self) -> None:
        """An upstream that does not answer holds no reload up."""
        self.first.answers[b"/hang"] = Answer((), then="hold")
        client = self.client()
        client.send(request("one.test", "/hang"))
        self.first.wait_for_requests(1)
        self.assertEqual(self.reload({"two.test": self.second.address})["status"], "ok")
        self.assertEqual(self.get("two.test").status, 200)
