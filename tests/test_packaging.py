"""What is promised about the package itself, in files that nothing else reads in a test run."""

from __future__ import annotations

from configparser import ConfigParser
from pathlib import Path

from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins
from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parent.parent


def read_ini(name: str) -> ConfigParser:
    """The parsed text of the file called ``name`` at the top of the project."""
    parser = ConfigParser(interpolation=None)
    parser.read_string((ROOT / name).read_text())
    return parser


class PackagingTests(SynchronousTestCase):
    """setup.cfg, tox.ini and the plugin."""

    def test_minimums_are_tested(self) -> None:
        """The mindeps environment pins exactly the minimum of every declared dependency."""
        setup = read_ini("setup.cfg")
        declared = setup["options"]["install_requires"] + setup["options.extras_require"]["dev"]
        minimums = [line.partition(",")[0] for line in declared.strip().splitlines()]
        pins = read_ini("tox.ini")["testenv:mindeps"]["deps"].strip().splitlines()
        self.assertEqual(sorted(pins), sorted(line.replace(">=", "==") for line in minimums))

    def test_plugin_is_found(self) -> None:
        """Twisted finds the service maker behind ``twistd revproxy``."""
        found = {maker.tapname: maker.module for maker in getPlugins(IServiceMaker)}
        self.assertEqual(found.get("revproxy"), "revproxy.tap")

    def test_plugin_folder_is_no_package(self) -> None:
        """No ``__init__.py`` shadows Twisted's own packages."""
        self.assertEqual(list((ROOT / "src" / "twisted").rglob("__init__.py")), [])
