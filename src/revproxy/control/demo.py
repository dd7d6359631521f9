"""What ``revproxy demo`` serves: two sites, a certificate, an upstream, and what to try.

Owns the demonstration's configuration and text. Refuses to know how a configuration becomes a
running proxy: the demonstration is served by the same service as any file.
"""

from __future__ import annotations

import errno
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.application.service import Service

from revproxy.control.demo_upstream import demo_upstream
from revproxy.model.address import UpstreamAddress
from revproxy.model.configuration import (
    MIB,
    BodyLimit,
    Configuration,
    Listener,
    RateLimit,
    Site,
    TlsSettings,
)
from revproxy.tls.self_signed import self_signed, write_pair

ADDRESS = "127.0.0.1"
APP = "app.localhost"
FILES = "files.localhost"
HTTP_PORT = 8080
HTTPS_PORT = 8443
RATE_LIMIT = RateLimit(requests_per_second=10, burst=20, headers=True)
BODY_LIMIT = BodyLimit(limit_bytes=MIB)


@frozen
class Attempt:
    """Something to try.

    Attributes:
        title: what it is about.
        command: a shell command, complete.
        shows: what to look for in its output, as prose.
        expects: a regular expression that its output matches.
    """

    title: str
    command: str
    shows: str
    expects: str


@frozen
class Demo:
    """A demonstration, ready to be served.

    Attributes:
        configuration: for the proxy.
        upstream: what the sites lead to; to be started and stopped with the proxy.
        attempts: what to try, in this order.
        text: what to print once everything is bound.
    """

    configuration: Configuration
    upstream: Service
    attempts: tuple[Attempt, ...]
    text: str


def demo_setup(reactor: Any, directory: str) -> Demo:
    """Build the demonstration in ``directory``, made with mode 0700 where it does not exist.

    Leaves a certificate, its key (0600) and later the upstream's socket in it. The ports are
    8080 and 8443 when they are free.

    Raises:
        OSError: the directory cannot be written.
        ValueError: the directory's name is too long for a UNIX socket's.
    """
    now = datetime.now(UTC).timestamp()
    pair = write_pair(Path(directory), *self_signed((APP, FILES), now=now))
    socket_path = os.path.join(directory, "upstream.sock")
    upstream = UpstreamAddress.parse(f"unix:{socket_path}")
    http_port, https_port = _free_port(HTTP_PORT), _free_port(HTTPS_PORT)
    listener = Listener(
        bind_addr=ADDRESS,
        http_port=http_port,
        https_port=https_port,
        tls=TlsSettings(mode="manual", pairs=(pair,)),
        sites=(Site(host=APP, upstream=upstream), Site(host=FILES, upstream=upstream)),
    )
    configuration = Configuration(
        rate_limit=RATE_LIMIT,
        body=BODY_LIMIT,
        listeners=(listener,),
        health_check_port=0,
        admin_socket_path="",
    )
    attempts = _attempts(pair.cert_path, http_port, https_port)
    text = _text(attempts, http_port, https_port)
    return Demo(configuration, demo_upstream(reactor, socket_path), attempts, text)


def _free_port(wanted: int) -> int:
    """``wanted`` when nobody listens there, else a port that the kernel finds free."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((ADDRESS, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE or port == 0:
                    raise
                continue
            found: int = probe.getsockname()[1]
            return found
    raise AssertionError("binding port 0 either succeeds or raises")


def _attempts(certificate: str, http_port: int, https_port: int) -> tuple[Attempt, ...]:
    def curl(host: str, path: str = "/", options: str = "") -> str:
        known = f"--cacert {certificate} --resolve {host}:{https_port}:{ADDRESS}"
        return f"curl -s {known} {options}'https://{host}:{https_port}{path}'"

    plain = f"curl -s -i --resolve {APP}:{http_port}:{ADDRESS}"
    status = "-o /dev/null -w '%{http_code}\\n' "
    return (
        Attempt(
            "A page through TLS, from the upstream",
            curl(APP, "/hello?name=value", "-i "),
            "200, the request as the upstream received it, X-RateLimit-* fields",
            r"(?s)HTTP\/[0-9.]+ 200.*GET /hello\?name=value.*client address: 127\.0\.0\.1",
        ),
        Attempt(
            "The other site, with a body",
            curl(FILES, "/upload", "--data-binary 'some text' "),
            "POST, host files.localhost, a body of 9 bytes",
            r"(?s)POST /upload.*files\.localhost.*body: 9 bytes",
        ),
        Attempt(
            "The plain port",
            f"{plain} 'http://{APP}:{http_port}/hello'",
            "301 to the same page over https",
            r"(?s)301 .*https://app\.localhost:\d+/hello",
        ),
        Attempt(
            "A host that no site has",
            f"curl -s -i -H 'Host: nobody.localhost' 'http://{ADDRESS}:{http_port}/'",
            "404",
            r"404 Not Found",
        ),
        Attempt(
            "A body that is too large (the limit here is 1 MiB)",
            f"head -c 2000000 /dev/zero | {curl(APP, '/', status + '--data-binary @- ')}",
            "413",
            r"413",
        ),
        Attempt(
            "100 MiB, streamed",
            curl(FILES, "/big?100", "-o /dev/null -w '%{size_download} bytes\\n' "),
            "104857600 bytes",
            r"104857600 bytes",
        ),
        Attempt(
            "A response that takes its time",
            curl(APP, "/slow", "-N "),
            "5 lines, one every half second: nothing is held back",
            r"line 5 of 5",
        ),
        Attempt(
            "Too many requests at once (20 pass, then 10 a second)",
            f"{curl(APP, '/?[1-40]', status)} | sort | uniq -c",
            "20 or a few more 200, the rest 429",
            r"(?s)2\d 200.*[12]\d 429",
        ),
    )


def _text(attempts: tuple[Attempt, ...], http_port: int, https_port: int) -> str:
    lines = [
        f"https://{APP}:{https_port}/ and https://{FILES}:{https_port}/ are being served,",
        f"http://{ADDRESS}:{http_port}/ redirects there. Ctrl-C ends it.",
    ]
    if (http_port, https_port) != (HTTP_PORT, HTTPS_PORT):
        lines.append(f"(Other ports than {HTTP_PORT} and {HTTPS_PORT}: they are taken.)")
    lines += ["", "To try, in another terminal:"]
    for attempt in attempts:
        lines += ["", f"# {attempt.title}: {attempt.shows}", attempt.command]
    return "\n".join(lines) + "\n"
