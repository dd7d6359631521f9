"""Debian's pebble: a real authority that speaks ACME, and the names it can resolve.

Owns the two processes, their configuration and their certificate. Refuses to know the proxy. What
it has issued, and which accounts it has, it forgets when it ends.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.certificates import authority
from tests.support.peers import require
from tests.support.proxy import free_port

EAB_KEY_ID = "kid-1"
EAB_HMAC_KEY = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"


class Pebble:
    """An authority at ``directory``, until :meth:`stop`.

    Every name is at 127.0.0.1. It is strict, validates without a pause, and refuses no nonce
    unless it is told to.

    Args:
        http_port: where it validates HTTP-01.
        tls_port: where it validates TLS-ALPN-01.
        seconds: how long its certificates are valid.
        blocked: names that it does not issue for.
        eab: accounts are to be bound to external ones.
        environment: as of pebble's documentation.

    Attributes:
        directory: the URL.
        ca_path: what its own certificate is verified with.
    """

    def __init__(
        self,
        http_port: int,
        tls_port: int,
        *,
        seconds: int = 90 * 86400,
        blocked: tuple[str, ...] = (),
        eab: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._programs = require("pebble"), require("pebble-challtestsrv")
        self.folder = Path(tempfile.mkdtemp(prefix="revproxy-pebble-"))
        self._ports = {name: free_port() for name in ("acme", "manage", "dns", "dns_manage")}
        self.directory = f"https://127.0.0.1:{self._ports['acme']}/dir"
        self.ca_path = authority().ca_path
        self._environment = {
            "PEBBLE_VA_NOSLEEP": "1",
            "PEBBLE_WFE_NONCEREJECT": "0",
            "PEBBLE_AUTHZREUSE": "0",
            **(environment or {}),
        }
        pair = authority().pair("localhost", "127.0.0.1")
        settings: dict[str, Any] = {
            "listenAddress": f"127.0.0.1:{self._ports['acme']}",
            "managementListenAddress": f"127.0.0.1:{self._ports['manage']}",
            "certificate": pair.cert_path,
            "privateKey": pair.key_path,
            "httpPort": http_port,
            "tlsPort": tls_port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": eab,
            "domainBlocklist": list(blocked),
            "certificateValidityPeriod": seconds,
        }
        if eab:
            settings["externalAccountMACKeys"] = {EAB_KEY_ID: EAB_HMAC_KEY}
        (self.folder / "pebble.json").write_text(json.dumps({"pebble": settings}))
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        try:
            self._start_names()
            self.start()
        except BaseException:
            self.stop()
            raise

    def start(self) -> None:
        """Let the authority run, without anything that it knew."""
        dns = f"127.0.0.1:{self._ports['dns']}"
        config = str(self.folder / "pebble.json")
        self._run(
            "acme", [self._programs[0], "-config", config, "-dnsserver", dns, "-strict=true"]
        )
        self._wait("acme", self.directory)

    def kill(self) -> None:
        """End the authority at once; the names stay."""
        child = self._children.pop("acme")
        child.send_signal(signal.SIGKILL)
        child.wait(5)

    def root(self) -> Path:
        """A file with the root of what it issues."""
        path = self.folder / "root.pem"
        path.write_bytes(self._fetch(f"https://127.0.0.1:{self._ports['manage']}/roots/0"))
        return path

    def hide(self, name: str) -> None:
        """Let ``name`` lead to where nobody listens."""
        body = json.dumps({"host": name, "addresses": ["127.0.0.9"]}).encode()
        url = f"http://127.0.0.1:{self._ports['dns_manage']}/add-a"
        urllib.request.urlopen(urllib.request.Request(url, body), timeout=5).close()

    @property
    def output(self) -> str:
        """What the authority has printed."""
        return (self.folder / "acme.out").read_text(encoding="utf-8", errors="replace")

    def stop(self) -> None:
        """End both processes and remove what they had."""
        for child in self._children.values():
            child.kill()
            child.wait(5)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start_names(self) -> None:
        manage = f"127.0.0.1:{self._ports['dns_manage']}"
        command = [self._programs[1], "-dns01", f"127.0.0.1:{self._ports['dns']}"]
        command += ["-http01", "", "-https01", "", "-tlsalpn01", "", "-management", manage]
        self._run("names", [*command, "-defaultIPv6", "", "-defaultIPv4", "127.0.0.1"])
        self._wait("names", f"http://{manage}/")

    def _run(self, name: str, command: list[str]) -> None:
        with open(self.folder / f"{name}.out", "ab") as output:
            self._children[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self._environment},
            )

    def _wait(self, name: str, url: str) -> None:
        deadline = time.monotonic() + 10
        while True:
            try:
                self._fetch(url)
                return
            except urllib.error.HTTPError:
                return  # which is an answer
            except OSError:
                if self._children[name].poll() is not None or time.monotonic() > deadline:
                    output = (self.folder / f"{name}.out").read_text(errors="replace")
                    raise AssertionError(f"{name} did not start:\n{output}") from None
                time.sleep(0.02)

    def _fetch(self, url: str) -> bytes:
        context = ssl.create_default_context(cafile=self.ca_path) if url[4] == "s" else None
        with urllib.request.urlopen(url, timeout=5, context=context) as answer:
            content: bytes = answer.read()
        return content
