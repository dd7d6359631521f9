"""Files of automatic certificates that disappear below a running proxy."""

from __future__ import annotations

import shutil
import ssl

from tests.integration.test_real_acme import ISSUED, NAMES, AcmeCase
from tests.support.proxy import ADMIN
from tests.support.raw_client import RawClient


class LostTests(AcmeCase):
    def test_removed(self) -> None:
        """They are served on, whatever is reloaded, an error says so, and others are ordered."""
        self.pebble()
        proxy = self.start()
        proxy.wait_for_line(ISSUED, 20)
        first = self.presented(NAMES[0])
        root = self.authority.root().read_text()
        self.authority.kill()
        shutil.rmtree(self.cache / "certs")
        line = proxy.wait_for_line("ERROR CERTIFICATE_RELOAD", 20)
        self.assertIn("the last good one is served", line)
        proxy.wait_for_line("WARN ACME event=failed", 20)
        proxy.write_config(
            {"c.acme.test": self.upstream.address, **self.sites},
            tls=self.settings(*NAMES),
            admin_socket_path=ADMIN,
            logging={"level": "trace"},
        )
        self.assertEqual(proxy.ask("reload")["status"], "ok")
        context = ssl.create_default_context(cadata=root)
        with RawClient.tls(proxy.https_port, NAMES[0], context=context) as client:
            self.assertEqual(client.tls_sock.getpeercert(), first)
        since = len(proxy.lines)
        self.authority.start()
        proxy.ask(f"certs renew {NAMES[0]}")
        proxy.wait_for_line(ISSUED, 20, since)
        self.assertNotEqual(self.presented(NAMES[0]), first)
