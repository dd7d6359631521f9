"""Two proxies that keep their automatic certificates in one place."""

from __future__ import annotations

from tests.integration.test_real_acme import ISSUED, AcmeCase
from tests.support.proxy import RunningProxy, free_port


class SharedTests(AcmeCase):
    def test_common_name(self) -> None:
        """With sets that have a name in common both get theirs, and no validation fails."""
        self.pebble(environment={"PEBBLE_VA_NOSLEEP": "0", "PEBBLE_VA_SLEEPTIME": "2"})
        one = self.start("a.acme.test", "b.acme.test")
        names = ("a.acme.test", "c.acme.test")
        other = RunningProxy(
            dict.fromkeys(names, self.upstream.address),
            ports=(free_port(), free_port()),
            tls=self.settings(*names),
            logging={"level": "trace"},
        )
        self.addCleanup(lambda: other.stop(allow_errors=True))
        for proxy in (one, other):
            proxy.wait_for_line(ISSUED, 40)
            self.assertFalse([line for line in proxy.lines if "event=failed" in line])
        accounts = list(self.cache.glob("accounts/*/account.pem"))
        self.assertEqual(len(accounts), 1)
