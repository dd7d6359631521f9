"""Debian's nginx as an upstream: real files, optionally TLS, optionally git's smart HTTP.

Owns a temporary prefix and the processes. Refuses to know the proxy.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from tests.support.certificates import Pair
from tests.support.peers import require
from tests.support.proxy import free_port

CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    default_type application/octet-stream;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 0;
    keepalive_requests 100000;
    gzip on;
    gzip_types application/octet-stream;
    server {{
        listen {listen};
        {tls}
        root {folder}/files;
        location /upload/ {{ dav_methods PUT; create_full_put_path on; root {folder}; }}
        location /slow/ {{ alias {folder}/files/; limit_rate 512k; }}
        location /small {{ client_max_body_size 100k; }}
        location /store {{
            client_body_in_file_only on;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_set_header X-Stored-As $request_body_file;
            proxy_pass http://unix:{folder}/inner.sock;
        }}
        {git}
        {more}
    }}
    server {{
        listen unix:{folder}/inner.sock;
        return 200 $http_x_stored_as;
    }}
    {servers}
}}
"""
GIT = """
        location ~ ^/git(/.*) {{
            fastcgi_pass unix:{folder}/fcgi.sock;
            fastcgi_request_buffering off;
            include /etc/nginx/fastcgi_params;
            fastcgi_param SCRIPT_FILENAME {backend};
            fastcgi_param GIT_PROJECT_ROOT {folder}/repositories;
            fastcgi_param GIT_HTTP_EXPORT_ALL "";
            fastcgi_param REMOTE_USER tester;
            fastcgi_param PATH_INFO $1;
        }}
"""


class Nginx:
    """An nginx that serves ``files`` and stores what is PUT to ``/upload/NAME``.

    ``more`` goes into its server, ``servers`` stand beside it.

    ``/slow/`` serves the files at 512 KiB/s; ``/store`` takes a body by any method and answers
    with the path of the file that it is in; ``/small`` takes no body above 100 KiB. Responses are
    compressed, and chunked then, for whoever asks for it.

    Attributes:
        address: what to write as a site's ``upstream``.
        folder: the prefix; ``upload/`` in it holds the uploads.
        files: the document root.
        repositories: bare repositories served below ``/git/`` (with ``git=True``).
    """

    def __init__(
        self,
        *,
        pair: Pair | None = None,
        unix: bool = False,
        git: bool = False,
        more: str = "",
        servers: str = "",
    ) -> None:
        program = require("nginx")
        backend = require("git-http-backend") if git else ""
        self.folder = Path(tempfile.mkdtemp(prefix="revproxy-nginx-"))
        self.folder.chmod(0o755)
        self.files = self.folder / "files"
        self.repositories = self.folder / "repositories"
        for name in ("files", "repositories", "upload"):
            (self.folder / name).mkdir()
        if unix:
            self._target: str | tuple[str, int] = str(self.folder / "http.sock")
            self.address = f"unix:{self._target}"
            listen = self.address
        else:
            self._target = ("127.0.0.1", free_port())
            self.address = listen = f"127.0.0.1:{self._target[1]}"
        self._children: list[subprocess.Popen[bytes]] = []
        if git:
            self._start_git()
        text = CONFIGURATION.format(
            folder=self.folder,
            listen=listen + (" ssl" if pair else ""),
            tls=f"ssl_certificate {pair.cert_path}; ssl_certificate_key {pair.key_path};"
            if pair
            else "",
            git=GIT.format(folder=self.folder, backend=backend) if git else "",
            more=more,
            servers=servers,
        )
        path = self.folder / "nginx.conf"
        path.write_text(text, encoding="utf-8")
        self._command = [program, "-p", str(self.folder), "-c", str(path)]
        self._start_nginx()

    def _start_nginx(self) -> None:
        for left_over in (self.folder / "http.sock", self.folder / "inner.sock"):
            left_over.unlink(missing_ok=True)
        self._start(self._command)
        self._wait(self._target)

    def _start(self, command: list[str]) -> None:
        with open(self.folder / "output", "ab") as output:
            self._children.append(
                subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )

    def _start_git(self) -> None:
        require("git")
        path = str(self.folder / "fcgi.sock")
        # One child only: more are processes of their own, which outlive the one that is ended.
        self._start([require("fcgiwrap"), "-c", "1", "-s", f"unix:{path}"])
        self._wait(path)

    def _wait(self, target: str | tuple[str, int]) -> None:
        deadline = time.monotonic() + 10
        while True:
            family = socket.AF_UNIX if isinstance(target, str) else socket.AF_INET
            with socket.socket(family) as sock:
                if sock.connect_ex(target) == 0:
                    return
            if self._children[-1].poll() is not None or time.monotonic() > deadline:
                output = (self.folder / "output").read_text(encoding="utf-8", errors="replace")
                self.stop()
                raise AssertionError(f"{self._children[-1].args!r} did not start:\n{output}")
            time.sleep(0.02)

    def new_repository(self, name: str) -> Path:
        """A bare repository that takes pushes, at ``/git/NAME``."""
        path = self.repositories / name
        for command in (
            ["init", "-q", "--bare", "-b", "main", str(path)],
            ["-C", str(path), "config", "http.receivepack", "true"],
        ):
            subprocess.run([require("git"), *command], check=True, timeout=30)
        return path

    def kill(self) -> None:
        """SIGKILL for nginx; the rest goes on."""
        child = self._children.pop()
        child.send_signal(signal.SIGKILL)
        child.wait(10)

    def restart(self) -> None:
        """Start the killed nginx again, on the same address."""
        self._start_nginx()

    def forget(self) -> None:
        """Remove what was stored."""
        for name in ("upload", "body"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
            (self.folder / name).mkdir()

    def stop(self) -> None:
        """End the processes, with what they have forked, and remove the prefix."""
        for child in self._children:
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it has ended by itself, and everything of it
            child.wait(5)
        shutil.rmtree(self.folder, ignore_errors=True)
