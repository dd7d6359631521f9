"""What becomes of an automatic certificate whose files somebody removes or breaks."""

from __future__ import annotations

from pathlib import Path
from shutil import rmtree

from tests.unit.test_control_renewal import DAY, MINUTE, RenewalCase


class LostTests(RenewalCase):
    def setUp(self) -> None:
        super().setUp()
        self.first()
        self.folder = self.wanted.authority.cache_dir / "certs"

    def seen(self) -> None:
        """The proxy has seen that the certificate cannot be used."""
        self.renewal.look()
        self.settle()

    def assert_ordered_anew(self) -> None:
        self.assertEqual(len(self.authority.orders), 2)
        self.assertEqual(len(self.told("issued")), 2)
        self.assertEqual(self.told("failed"), [])
        self.assertTrue(Path(self.wanted.pair.cert_path).exists())
        self.later(DAY)
        self.assertEqual(len(self.authority.orders), 2)

    def test_removed(self) -> None:
        """A certificate that is gone is ordered anew as soon as that is seen, once."""
        Path(self.wanted.pair.cert_path).unlink()
        self.seen()
        self.assert_ordered_anew()

    def test_all_removed(self) -> None:
        """The same when nothing is left of it, not even what was remembered."""
        rmtree(self.folder)
        self.seen()
        self.assert_ordered_anew()

    def test_broken(self) -> None:
        """The same of one that is broken."""
        Path(self.wanted.pair.cert_path).write_bytes(b"oops")
        self.seen()
        self.assert_ordered_anew()

    def test_there(self) -> None:
        """One that can be read after all is not ordered."""
        self.seen()
        self.assertEqual(len(self.authority.orders), 1)

    def test_refused(self) -> None:
        """Where the authority refuses, its waits are kept, however often it is seen."""
        rmtree(self.folder)
        self.authority.refuse("order", 500, b"down")
        for _ in range(5):
            self.seen()
        self.assertEqual(len(self.told("failed")), 1)
        self.assertEqual(len(self.authority.orders), 1)
        self.later(2 * MINUTE, step=MINUTE)
        self.settle()
        self.assertEqual(len(self.told("issued")), 2)
