"""The image and the compose file of deploy/, as far as they can be checked without Docker."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import attrs
from twisted.trial.unittest import SynchronousTestCase

from revproxy.model.configuration import Configuration
from revproxy.settings import DEFAULT_CONFIG
from tests.support.proxy import RunningProxy, free_port

ROOT = Path(__file__).resolve().parents[2]
PYTHON = "/opt/revproxy/bin/python"


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions in order: word and arguments, each on one line."""
    text = (ROOT / "deploy" / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    joined = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines))
    return [
        (word, rest)
        for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)
    ]


def services() -> dict[str, list[str]]:
    """The services of the compose file, each with its lines, bare of indentation and comments."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in (ROOT / "deploy" / "docker-compose.yml").read_text().splitlines():
        bare = line.strip()
        if not bare or bare.startswith("#"):
            continue
        if not line.startswith(" "):
            section = bare
        elif section == "services:" and re.fullmatch(r"  \S+:", line):
            lines = found.setdefault(bare.removesuffix(":"), [])
        elif section == "services:":
            lines.append(bare)
    return found


class ImageTests(SynchronousTestCase):
    """deploy/Dockerfile and .dockerignore."""

    def values(self, word: str) -> list[str]:
        """The arguments of every instruction of that kind."""
        return [rest for kind, rest in instructions() if kind == word]

    def test_stages(self) -> None:
        """The stage that runs is another than the one that builds, and takes only the program."""
        bases = [value.split()[0] for value in self.values("FROM")]
        self.assertEqual(bases, ["python:3.11-slim-bookworm"] * 2)
        copied = self.values("COPY")
        self.assertEqual(copied, [". .", "--from=build /opt/revproxy /opt/revproxy"])

    def test_process(self) -> None:
        """The image runs the proxy as nobody in particular, on its own file, until SIGTERM."""
        command = ["/opt/revproxy/bin/revproxy", "run", "--config", DEFAULT_CONFIG]
        self.assertEqual([json.loads(value) for value in self.values("ENTRYPOINT")], [command])
        self.assertEqual(self.values("USER"), ["65532:65532"])
        self.assertEqual(self.values("STOPSIGNAL"), ["SIGTERM"])
        self.assertEqual(self.values("EXPOSE"), ["80 443"])

    def test_folders(self) -> None:
        """The folders that the proxy writes to are made for its user."""
        made = self.values("RUN")[-1]
        socket_path = attrs.fields(Configuration).admin_socket_path.default
        for folder in (
            "/var/lib/reverse-proxy/acme-cache",
            "/var/log/reverse-proxy",
            str(Path(socket_path).parent),
        ):
            self.assertRegex(made, rf"install -d -o nonroot [^&]*{folder}\b")

    def test_context(self) -> None:
        """What is sent to the build is what the package is made of."""
        patterns = (ROOT / ".dockerignore").read_text().splitlines()
        kept = {pattern[1:] for pattern in patterns if pattern.startswith("!")}
        self.assertIn("*", patterns)
        setup = ConfigParser(interpolation=None)
        setup.read_string((ROOT / "setup.cfg").read_text())
        metadata = setup["metadata"]
        needed = {
            "setup.cfg",
            "pyproject.toml",
            setup["options"]["package_dir"].split("=")[1].strip(),
        }
        needed |= {metadata["long_description"].removeprefix("file:").strip()}
        needed |= set(metadata["license_files"].split())
        self.assertEqual(kept, needed)
        self.assertEqual({name for name in kept if not (ROOT / name).exists()}, set())


class ComposeTests(SynchronousTestCase):
    """deploy/docker-compose.yml."""

    def assert_lines(self, service: str, *lines: str) -> None:
        """A service has these lines."""
        self.assertEqual(set(lines) - set(services()[service]), set())

    def test_proxy(self) -> None:
        """The proxy is built from here, owns the ports, and shares its folders with the host."""
        self.assert_lines(
            "reverse-proxy",
            "context: ..",
            "dockerfile: deploy/Dockerfile",
            "container_name: reverse-proxy",
            "restart: unless-stopped",
            '- "203.0.113.10:80:80"',
            '- "203.0.113.10:443:443"',
            f"- {DEFAULT_CONFIG}:{DEFAULT_CONFIG}:ro",
            "- /var/lib/reverse-proxy/acme-cache:/var/lib/reverse-proxy/acme-cache",
            "- /var/log/reverse-proxy:/var/log/reverse-proxy",
            "- /run/reverse-proxy:/run/reverse-proxy",
            "- proxy-net",
        )

    def test_proxy_is_confined(self) -> None:
        """The container is read-only, has one capability, and the time to drain."""
        self.assert_lines(
            "reverse-proxy",
            "read_only: true",
            "- ALL",
            "- NET_BIND_SERVICE",
            "- no-new-privileges:true",
            "stop_grace_period: 45s",
        )
        self.assertLess(attrs.fields(Configuration).shutdown_timeout_secs.default, 45)

    def test_gitea(self) -> None:
        """Gitea and its database are on a network of their own, and only Gitea on the proxy's."""
        self.assertEqual(list(services()), ["reverse-proxy", "gitea", "gitea-db"])
        self.assert_lines(
            "gitea",
            "image: gitea/gitea:latest",
            "restart: unless-stopped",
            '- "203.0.113.10:22:2222"',
            "- /opt/gitea:/data",
            "- proxy-net",
            "- gitea-db-net",
        )
        self.assert_lines(
            "gitea-db",
            "image: postgres:16-alpine",
            "POSTGRES_USER: admin",
            "POSTGRES_PASSWORD: ${DB_PASSWORD}",
            "POSTGRES_DB: gitea",
            "- gitea-db:/var/lib/postgresql/data",
            "- gitea-db-net",
        )
        self.assertNotIn("- proxy-net", services()["gitea-db"])


class _Health(BaseHTTPRequestHandler):
    """Answers ``/health`` with :attr:`status`."""

    status: ClassVar[int]

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/health" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def health_port(status: int) -> Iterator[int]:
    """A port that answers ``/health`` with ``status``."""
    server = HTTPServer(("127.0.0.1", 0), type("Health", (_Health,), {"status": status}))
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class HealthCheckTests(SynchronousTestCase):
    """The command that says whether the container is healthy."""

    def command(self) -> list[str]:
        """The Dockerfile's."""
        ((_, rest),) = [found for found in instructions() if found[0] == "HEALTHCHECK"]
        options, _, command = rest.partition(" CMD ")
        self.assertEqual(options, "--interval=30s --timeout=5s --retries=3")
        parsed: list[str] = json.loads(command)
        return parsed

    def status(self, port: int) -> int:
        """The exit status of the command, with this Python and a port of the test's."""
        python, *arguments = self.command()
        self.assertEqual(python, PYTHON)
        (at,) = [number for number, argument in enumerate(arguments) if "9900" in argument]
        self.assertEqual(attrs.fields(Configuration).health_check_port.default, 9900)
        arguments[at] = arguments[at].replace("9900", str(port))
        done = subprocess.run(
            [sys.executable, *arguments], capture_output=True, check=False, timeout=30
        )
        return done.returncode

    def test_healthy(self) -> None:
        """An answer of 200 is healthy."""
        with health_port(200) as port:
            self.assertEqual(self.status(port), 0)

    def test_unhealthy(self) -> None:
        """Any other answer is not, and neither is none."""
        for status in (204, 404, 503):
            with health_port(status) as port:
                self.assertEqual(self.status(port), 1)
        self.assertEqual(self.status(free_port()), 1)

    def test_proxy(self) -> None:
        """A running proxy is healthy, on the port that it has for that."""
        port = free_port()
        proxy = RunningProxy({"site.test": "127.0.0.1:1"}, health_check_port=port)
        self.addCleanup(proxy.stop)
        self.assertEqual(self.status(port), 0)

    def test_compose(self) -> None:
        """The compose file asks the same, as often."""
        lines = services()["reverse-proxy"]
        (test,) = [line for line in lines if line.startswith("test: ")]
        self.assertEqual(json.loads(test.removeprefix("test: ")), ["CMD", *self.command()])
        for line in ("interval: 30s", "timeout: 5s", "retries: 3"):
            self.assertIn(line, lines)
