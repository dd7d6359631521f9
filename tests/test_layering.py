"""The house's layering, held by reading the sources: which package may import what.

Owns the table of ``docs/architecture/overview.md`` in a form that can fail. A package that the
table does not name fails too, so that nobody can add one without deciding where it stands.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

SOURCES = Path(__file__).parent.parent / "src" / "revproxy"

BASE = frozenset({"errors", "model"})
PURE = BASE | {"wire", "policy", "settings"}
ALL = PURE | {"net", "tls", "control", "tap", "cli"}

MAY_IMPORT: dict[str, frozenset[str]] = {
    # level 0
    "__init__": frozenset(),
    "errors": frozenset(),
    "model": BASE,
    # level 1
    "wire": BASE | {"wire"},
    # level 2: the two do not know each other
    "policy": BASE | {"wire", "policy"},
    "settings": BASE | {"settings"},
    # level 3: the two meet through model/seams.py only; neither knows the file format
    "net": BASE | {"wire", "policy", "net"},
    "tls": BASE | {"wire", "policy", "tls"},
    # level 4
    "control": ALL - {"tap", "cli"},
}
"""Which parts of revproxy each part may import. A module beside the packages is level 5."""

LEVEL_5 = ALL

THIRD_PARTIES: dict[str, tuple[str, ...]] = {
    "attr": ("",),
    "attrs": ("",),
    "httptools": ("wire/",),
    "ssl": ("net/tls_layer.py", "tls/", "model/seams.py", "model/tls.py"),
    "cryptography": ("tls/", "control/"),
    "treq": ("tls/", "control/"),
    "twisted": ("net/", "tls/", "control/", "tap.py", "cli.py"),
    "zope": ("net/", "tls/", "control/", "tap.py", "cli.py"),
}
"""Where under src/revproxy each may be imported: folders, or files by name."""

IMPURE = frozenset({"asyncio", "logging", "select", "selectors", "threading", "time"})
"""Standard modules that ``PURE`` parts may not import: no loop, no clock, no log."""

REACTOR_OWNERS = ("tap.py", "cli.py")

MOST_LINES = 400


def imported_names(tree: ast.AST, package: str) -> Iterator[tuple[int, str]]:
    """Every import below ``tree`` as line and dotted name, ``from a import b`` as ``a.b``.

    ``package`` is the dotted package that relative imports start from.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                origin = ".".join([*parents, origin] if origin else parents)
            for alias in node.names:
                yield node.lineno, f"{origin}.{alias.name}"


def internal_offence(part: str, name: str) -> str | None:
    """What is wrong with ``part`` of revproxy importing ``name``, if anything is."""
    target = name.split(".")[1] if "." in name else "__version__"
    if target == "__version__" or target in MAY_IMPORT.get(part, LEVEL_5):
        return None
    return f"{part} may not import {target}"


def external_offence(path: str, part: str, name: str) -> str | None:
    """What is wrong with the file at ``path`` importing ``name`` from outside, if anything."""
    top = name.partition(".")[0]
    if name.startswith("twisted.internet.reactor") and path not in REACTOR_OWNERS:
        return "the reactor is a parameter"
    if top in THIRD_PARTIES:
        allowed = any(path.startswith(place) for place in THIRD_PARTIES[top])
        return None if allowed else f"{top} is not imported here"
    if top not in sys.stdlib_module_names:
        return f"{top} is not a dependency"
    if top in IMPURE and part in PURE:
        return f"{part} is pure"
    return None


def offences(path: str, source: str) -> list[str]:
    """Every forbidden import in ``source``, as ``file:line: import: why``.

    ``path`` is the file's, relative to src/revproxy, with forward slashes.
    """
    part = path.partition("/")[0].removesuffix(".py")
    if "/" in path and part not in MAY_IMPORT:
        return [f"src/revproxy/{path}:1: the package {part} has no level in MAY_IMPORT"]
    package = ".".join(["revproxy", *path.split("/")[:-1]])
    found = []
    for line, name in imported_names(ast.parse(source, path), package):
        if name.partition(".")[0] == "revproxy":
            why = internal_offence(part, name)
        else:
            why = external_offence(path, part, name)
        if why:
            found.append(f"src/revproxy/{path}:{line}: imports {name}: {why}")
    return found


def sources() -> list[tuple[str, str]]:
    """Every source file's path relative to src/revproxy, and its text."""
    files = sorted(SOURCES.rglob("*.py"))
    return [(file.relative_to(SOURCES).as_posix(), file.read_text()) for file in files]


class LayeringTests(SynchronousTestCase):
    """The sources as they are."""

    def test_imports_go_down_only(self) -> None:
        """No file imports what its level may not know."""
        found = [offence for path, text in sources() for offence in offences(path, text)]
        if found:
            self.fail("\n".join(["forbidden imports:", *found]))

    def test_every_package_is_named(self) -> None:
        """Every folder with a source file in it has a level."""
        folders = {path.partition("/")[0] for path, _ in sources() if "/" in path}
        self.assertEqual(folders - MAY_IMPORT.keys(), set())

    def test_files_stay_small(self) -> None:
        """No file has outgrown one idea."""
        sizes = {path: len(text.splitlines()) for path, text in sources()}
        self.assertEqual({path: n for path, n in sizes.items() if n > MOST_LINES}, {})


class LayeringRuleTests(SynchronousTestCase):
    """The rule itself: each kind of forbidden import is reported with its place."""

    def refused(self, path: str, source: str, *words: str) -> None:
        """Assert that ``source`` has exactly one offence, which holds each of ``words``."""
        (report,) = offences(path, source)
        for word in (f"src/revproxy/{path}:", *words):
            self.assertIn(word, report)

    def test_import_going_up(self) -> None:
        """An import of a higher level is reported with file, line and name."""
        source = "import re\n\nfrom revproxy.net.pool import Pool\n"
        self.refused("wire/head.py", source, "head.py:3:", "revproxy.net.pool", "may not import")

    def test_siblings(self) -> None:
        """Packages of one level that are kept apart do not import each other."""
        self.refused("net/pool.py", "import revproxy.tls.store", "net may not import tls")
        self.refused("tls/store.py", "from revproxy import net", "tls may not import net")
        self.refused("policy/x.py", "from revproxy.settings import read", "policy may not")
        self.refused("settings/x.py", "from revproxy.policy import route", "settings may not")

    def test_relative_import(self) -> None:
        """A relative import is followed to what it names."""
        self.refused("model/http.py", "from ..control import demo", "revproxy.control.demo")

    def test_import_inside_a_function(self) -> None:
        """An import that is hidden in a function or behind TYPE_CHECKING counts."""
        self.refused("wire/x.py", "def f():\n    import twisted.internet.defer\n", ":2:")
        self.refused("wire/x.py", "if TYPE_CHECKING:\n    import zope.interface\n", ":2:")

    def test_third_party_out_of_place(self) -> None:
        """A dependency is imported only where the table puts it."""
        self.refused("net/h1_front.py", "import httptools", "httptools is not imported here")
        self.refused("net/pool.py", "import ssl", "ssl is not imported here")
        self.refused("net/pool.py", "from cryptography import x509", "cryptography")
        self.refused("policy/auth.py", "from twisted.python import log", "twisted")

    def test_unknown_third_party(self) -> None:
        """What is neither standard library nor a named dependency is refused everywhere."""
        self.refused("control/x.py", "import requests", "requests is not a dependency")

    def test_clock_in_a_pure_part(self) -> None:
        """Pure parts import neither clock nor log nor loop."""
        self.refused("policy/x.py", "from time import monotonic", "policy is pure")

    def test_global_reactor(self) -> None:
        """The reactor is imported in tap.py and cli.py and nowhere else."""
        source = "from twisted.internet import reactor\n"
        self.refused("control/service.py", source, "the reactor is a parameter")
        self.assertEqual(offences("tap.py", source), [])

    def test_unnamed_package(self) -> None:
        """A package without a level is reported, whatever it imports."""
        self.refused("extras/x.py", "", "the package extras has no level")

    def test_allowed_imports(self) -> None:
        """Imports that go down, and dependencies in their place, are not reported."""
        source = "import ssl\nfrom twisted.internet import defer\nfrom revproxy import errors\n"
        self.assertEqual(offences("net/tls_layer.py", source), [])
        self.assertEqual(offences("cli.py", "from revproxy import __version__, tap\n"), [])
