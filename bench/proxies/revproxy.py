"""revproxy itself, every default feature on."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

from bench.load import LoadError
from bench.proxies.base import BODY_LIMIT_BYTES, Proxy, Setup

SOURCE = Path(__file__).resolve().parents[2] / "src"

_CONFIG = """\
health_check_port = 0
admin_socket_path = "admin.sock"

[logging]
level = "{level}"

[rate_limit]
requests_per_second = 1000000
burst = 1000000

[body]
limit_bytes = {body_limit}

[limits]
max_connections_per_ip = 0

[[listeners]]
bind_addr = "127.0.0.1"
http_port = 0
https_port = {port}

[listeners.tls]
mode = "manual"
cert_path = "{certificates[0].cert}"
key_path = "{certificates[0].key}"
"""

_SITE = """
[[listeners.sites]]
host = "{host}"
upstream = "{upstream_host}:{upstream_port}"
"""


class RevProxy(Proxy):
    """Routing, rate limit, body limit, timeouts and forwarding headers as they come.

    The rate limit is set so high that it refuses nothing; it is asked all the same.
    """

    name = "revproxy"
    program = sys.executable
    version_argument = ""

    @classmethod
    def missing(cls) -> str | None:
        command_module = SOURCE / "revproxy" / "cli.py"
        return None if command_module.exists() else "src/revproxy/cli.py is not there"

    @classmethod
    def version(cls) -> str:
        python = sys.version.partition(" ")[0]
        ask = [sys.executable, "-c", "import revproxy; print(revproxy.__version__)"]
        environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
        shown = subprocess.run(ask, capture_output=True, text=True, check=False, env=environment)
        own = shown.stdout.strip()
        return f"revproxy {own} (Python {python}, Twisted {metadata.version('twisted')})"

    def configure(self) -> list[str]:
        config = self.folder / "revproxy.toml"
        setup = self.setup
        text = _CONFIG.format(
            level="info" if setup.access_log else "warn",
            body_limit=BODY_LIMIT_BYTES,
            port=self.port,
            certificates=setup.certificates,
        )
        if setup.certificates[1:]:
            pairs = ",\n".join(
                f'  {{ cert_path = "{pair.cert}", key_path = "{pair.key}" }}'
                for pair in setup.certificates[1:]
            )
            text += f"certificates = [\n{pairs}\n]\n"
        config.write_text(text + self.sites())
        environment = ["env", f"PYTHONPATH={SOURCE}"]
        return [*environment, sys.executable, "-m", "revproxy.cli", "run", "--config", str(config)]

    def sites(self) -> str:
        """What the listener serves."""
        setup = self.setup
        upstream = {"upstream_host": setup.upstream_host, "upstream_port": setup.upstream_port}
        return "".join(_SITE.format(host=host, **upstream) for host in setup.hosts)

    def reload(self, setup: Setup) -> float:
        """Serve ``setup`` instead; returns the seconds until that is so.

        Raises:
            LoadError: it is refused.
        """
        self.setup = setup
        self.configure()
        with socket.socket(socket.AF_UNIX) as channel:
            channel.settimeout(60)
            channel.connect(str(self.folder / "admin.sock"))
            begun = time.perf_counter()
            channel.sendall(b"reload\n")
            reply = channel.makefile("rb").readline()
            taken = time.perf_counter() - begun
        if not json.loads(reply).get("changed"):
            raise LoadError(f"reload: {reply[:200]!r}")
        return taken

    def logs_to_stdout(self) -> bool:
        return True
