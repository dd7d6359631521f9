"""TCP services through ``[[streams]]``: ssh to an sshd, and mail to a mail server."""

from __future__ import annotations

import getpass
import hashlib
import os
import signal
import smtplib
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.peers import require
from tests.support.proxied import HEADERS, header_v2
from tests.support.proxy import ADMIN, RunningProxy, free_port
from tests.support.raw_client import RawClient
from tests.support.recording_upstream import RecordingUpstream
from tests.support.servers import ByteServer, start_server, temporary_folder

ELSEWHERE = "127.0.0.9"
"""A client's address that no other peer has."""

SSHD = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/client.pub
PidFile none
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
"""
PRIVILEGE_SEPARATION = Path("/run/sshd")
"""sshd as root wants it; elsewhere whoever starts sshd makes it."""

EXIM = """
primary_hostname = mail.test
spool_directory = {folder}/spool
log_file_path = {folder}/%slog
pid_file_path = {folder}/pid
keep_environment =
host_lookup =
rfc1413_query_timeout = 0s
tls_advertise_hosts =
queue_only
acl_smtp_rcpt = accept
begin routers
none:
  driver = redirect
  data = :blackhole:
"""


class StreamCase(SynchronousTestCase):
    """A proxy with TCP services."""

    def service(
        self,
        upstream: str,
        send_proxy: str = "off",
        address: str = "127.0.0.1",
        **overrides: Any,
    ) -> int:
        """Start a proxy with a TCP service in front of ``upstream``; its port."""
        site = RecordingUpstream()
        self.addCleanup(site.stop)
        port = free_port()
        stream: dict[str, Any] = {"bind_addr": address, "port": port, "upstream": upstream}
        if send_proxy != "off":
            stream["send_proxy"] = send_proxy
        self.sites = {"a.test": site.address}
        self.settings = {"streams": [stream], **overrides}
        self.proxy = RunningProxy(self.sites, **self.settings)
        self.addCleanup(self.proxy.stop)
        return port


class SshTests(StreamCase):
    """OpenSSH."""

    def setUp(self) -> None:
        self.sshd, self.ssh = require("sshd"), require("ssh")
        self.folder = temporary_folder(self)
        for name in ("host", "client"):
            command = [require("ssh-keygen"), "-q", "-t", "ed25519", "-N", ""]
            subprocess.run([*command, "-f", str(self.folder / name)], check=True, timeout=30)

    def start(self) -> str:
        """Start sshd; its address."""
        port = free_port()
        path = self.folder / "sshd_config"
        path.write_text(SSHD.format(folder=self.folder, port=port))
        if os.geteuid() == 0:
            PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)
        start_server(self, [self.sshd, "-D", "-e", "-f", str(path)], port)
        return f"127.0.0.1:{port}"

    def run_there(self, port: int, command: str, given: bytes = b"") -> bytes:
        """What ``command`` prints at the other end."""
        options = ["-F", "none", "-b", ELSEWHERE, "-i", str(self.folder / "client")]
        for option in (
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "StrictHostKeyChecking=no",
            "LogLevel=ERROR",
            f"UserKnownHostsFile={self.folder}/known",
        ):
            options += ["-o", option]
        where = f"{getpass.getuser()}@127.0.0.1"
        done = subprocess.run(
            [self.ssh, *options, "-p", str(port), where, command],
            input=given,
            capture_output=True,
            check=False,
            timeout=60,
        )
        self.errors = done.stderr.decode("utf-8", "replace")
        return done.stdout

    def test_session(self) -> None:
        """A session with ten megabytes each way; sshd has its own host key and asks for ours."""
        port = self.service(self.start())
        given = os.urandom(10_000_000)
        echo = self.run_there(port, "cat", given)
        self.assertEqual(
            hashlib.sha256(echo).digest(), hashlib.sha256(given).digest(), self.errors
        )
        record = self.proxy.wait_for_line(f"INFO STREAM client_ip={ELSEWHERE} sni=- upstream=")
        self.assertNotIn("cut=", record)
        self.assertRegex(record, r" bytes_in=1\d{7} bytes_out=1\d{7} ")

    def test_told(self) -> None:
        """A server that takes PROXY headers is told of the client before its first byte."""
        server = ByteServer()
        self.addCleanup(server.stop)
        port = self.service(server.address, "v2")
        child = subprocess.Popen(
            [self.ssh, "-F", "none", "-b", ELSEWHERE, "-p", str(port), "127.0.0.1"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.addCleanup(child.wait, 10)
        self.addCleanup(child.kill)
        received = server.wait_for(28 + len(b"SSH-2.0-OpenSSH"))
        source_port = int.from_bytes(received[24:26], "big")
        expected = header_v2(ELSEWHERE, source_port, "127.0.0.1", port)
        self.assertTrue(received.startswith(expected + b"SSH-2.0-OpenSSH"), received)
        self.assertGreater(source_port, 0)


class MailTests(StreamCase):
    """Exim."""

    def start(self) -> str:
        """Start a mail server that keeps what it takes; its address."""
        exim = require("exim4")
        self.folder = temporary_folder(self)
        self.folder.chmod(0o777)  # as root it writes as a user of its own
        port = free_port()
        path = self.folder / "exim.conf"
        path.write_text(EXIM.format(folder=self.folder))
        path.chmod(0o644)
        command = [exim, "-C", str(path), "-bdf", "-oX", f"127.0.0.1.{port}"]
        start_server(self, command, port)
        return f"127.0.0.1:{port}"

    def test_mail(self) -> None:
        """EHLO is answered, and a message of two megabytes is taken as it is."""
        port = self.service(self.start())
        text = "\r\n".join(["Subject: through", "", *["all work and no play"] * 100_000, ""])
        with smtplib.SMTP("127.0.0.1", port, timeout=30, source_address=(ELSEWHERE, 0)) as client:
            code, told = client.ehlo("client.test")
            self.assertEqual(code, 250)
            self.assertTrue(told.startswith(b"mail.test Hello client.test [127.0.0.1]\n"), told)
            self.assertEqual(client.sendmail("a@client.test", ["b@mail.test"], text), {})
        (body,) = (self.folder / "spool" / "input").glob("*-D")
        self.assertEqual(body.read_text().count("all work and no play\n"), 100_000)
        record = self.proxy.wait_for_line(f"INFO STREAM client_ip={ELSEWHERE} sni=- upstream=")
        self.assertNotIn("cut=", record)

    def test_told(self) -> None:
        """A server that takes PROXY headers has one before it says its first word."""
        for send, header in zip(("v1", "v2"), HEADERS, strict=True):
            server = ByteServer(_greets)
            self.addCleanup(server.stop)
            port = self.service(server.address, send)
            client = RawClient.plain(port, source=ELSEWHERE)
            self.addCleanup(client.close)
            self.assertEqual(client.stream.until(b"\r\n"), b"220 recorded\r\n")
            source_port = client.sock.getsockname()[1]
            expected = header(ELSEWHERE, source_port, "127.0.0.1", port) + b"EHLO client.test\r\n"
            client.send(b"EHLO client.test\r\n")
            self.assertEqual(server.wait_for(len(expected)), expected)

    def test_told_over_v6(self) -> None:
        """The same over IPv6, to a server on IPv6."""
        for send, header in zip(("v1", "v2"), HEADERS, strict=True):
            server = ByteServer(_greets, socket.AF_INET6)
            self.addCleanup(server.stop)
            port = self.service(server.address, send, "::1")
            client = RawClient.plain(port, host="::1")
            self.addCleanup(client.close)
            self.assertEqual(client.stream.until(b"\r\n"), b"220 recorded\r\n")
            expected = header("::1", client.sock.getsockname()[1], "::1", port)
            self.assertEqual(server.wait_for(len(expected)), expected)


def _greets(sock: socket.socket) -> None:
    """Read a header, speak first as mail servers do, then listen."""
    sock.recv(1024)
    sock.sendall(b"220 recorded\r\n")
    while sock.recv(1024):
        pass


class EndTests(StreamCase):
    """How a service's connections end."""

    def test_half_close(self) -> None:
        """A client may end and still read; the server's answer comes, then its end."""
        server = ByteServer(_echoes_at_the_end)
        self.addCleanup(server.stop)
        client = RawClient.plain(self.service(server.address))
        self.addCleanup(client.close)
        sent = os.urandom(3_000_000)
        self.assertEqual(client.send(sent).half_close().read_until_close(), sent)
        record = self.proxy.wait_for_line("INFO STREAM ")
        self.assertIn(" bytes_in=3000000 bytes_out=3000000 ", record)
        self.assertNotIn("cut=", record)

    def opened(self, **overrides: Any) -> RawClient:
        """A connection on which something has come through."""
        self.server = ByteServer(_echoes_at_the_end)
        self.addCleanup(self.server.stop)
        client = RawClient.plain(self.service(self.server.address, **overrides))
        self.addCleanup(client.close)
        client.send(b"hello")
        self.server.wait_for(5)
        return client

    def test_idle(self) -> None:
        """A connection on which nothing comes either way is cut after its time."""
        client = self.opened(timeouts={"upgraded_idle_secs": 1})
        started = time.monotonic()
        self.assertRaises(ConnectionResetError, client.sock.recv, 1)
        self.assertTrue(0.8 < time.monotonic() - started < 5)
        self.assertTrue(self.proxy.wait_for_line("INFO STREAM ").endswith(" cut=idle"))

    def test_reload(self) -> None:
        """A reload leaves open connections alone, and they are told of until they end."""
        client = self.opened(admin_socket_path=ADMIN)
        self.proxy.write_config(self.sites, **self.settings, limits={"max_connections": 500})
        self.assertEqual(self.proxy.ask("reload")["status"], "ok")
        (shown,) = self.proxy.ask("connections")["connections"]
        self.assertEqual(shown["state"], "passing")
        self.assertEqual(client.send(b", world").half_close().read_until_close(), b"hello, world")
        self.assertNotIn("cut=", self.proxy.wait_for_line("INFO STREAM "))

    def test_drain_waits(self) -> None:
        """The end of the proxy waits for what is open."""
        client = self.opened(shutdown_timeout_secs=20)
        self.proxy.send_signal(signal.SIGTERM)
        self.proxy.wait_for_line(" DRAIN ")
        self.assertEqual(client.send(b", world").half_close().read_until_close(), b"hello, world")
        self.assertEqual(self.proxy.wait(10), 0)
        self.assertNotIn("cut=", self.proxy.wait_for_line("INFO STREAM "))

    def test_drain(self) -> None:
        """What has not ended by the end of its time is cut, and that is said."""
        client = self.opened()
        self.proxy.send_signal(signal.SIGTERM)
        self.assertRaises(ConnectionResetError, client.sock.recv, 1)
        self.assertTrue(self.proxy.wait_for_line("INFO STREAM ").endswith(" cut=shutdown"))
        self.assertEqual(self.proxy.wait(10), 0)


def _echoes_at_the_end(sock: socket.socket) -> None:
    """Send everything back once the peer has ended."""
    received = b"".join(iter(lambda: sock.recv(65536), b""))
    sock.sendall(received)
