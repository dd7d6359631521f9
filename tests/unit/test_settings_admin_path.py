"""Where the admin socket of a configuration is, whatever else is wrong with the file."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from revproxy.model.configuration import Configuration
from revproxy.settings import admin_path as admin_path_module
from revproxy.settings import load
from revproxy.settings.admin_path import admin_path
from revproxy.settings.fields import LONGEST_SOCKET_PATH
from revproxy.settings.files import MOST_FILE_BYTES
from tests.support.configurations import MINIMAL

DEFAULT = "/run/reverse-proxy/admin.sock"


class AdminPathTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="revproxy-")  # short, as a socket's must be
        self.addCleanup(folder.cleanup)
        self.directory = Path(folder.name)
        self.file = self.directory / "config.toml"

    def found(self, content: str | bytes) -> str:
        """What is found in a file with this content."""
        self.file.write_bytes(content.encode() if isinstance(content, str) else content)
        return admin_path(self.file)

    def test_named(self) -> None:
        """The path that the file names is found, by a path of either type."""
        self.assertEqual(self.found('admin_socket_path = "/run/a.sock"'), "/run/a.sock")
        self.assertEqual(admin_path(str(self.file)), "/run/a.sock")

    def test_relative(self) -> None:
        """A relative one starts from the file, wherever the command was given."""
        text = 'admin_socket_path = "run/a.sock"'
        self.assertEqual(self.found(text), str(self.directory / "run" / "a.sock"))
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.directory.parent)
        relative = os.path.relpath(self.file)
        self.assertEqual(admin_path(relative), str(self.directory / "run" / "a.sock"))

    def test_off(self) -> None:
        """Where there is none, there is none."""
        self.assertEqual(self.found('admin_socket_path = ""'), "")

    def test_default(self) -> None:
        """A file that says nothing of it has the default."""
        for content in ("", MINIMAL, '[admin]\nsocket_path = "/a"'):
            self.assertEqual(self.found(content), DEFAULT)

    def test_as_served(self) -> None:
        """It is where a proxy of that file has it."""
        for line in ('admin_socket_path = "a.sock"', 'admin_socket_path = ""', ""):
            found = self.found(f"{line}\n{MINIMAL}")
            self.assertEqual(found, load(self.file).admin_socket_path)

    def test_invalid_configuration(self) -> None:
        """Mistakes elsewhere in the file do not matter: that is when one asks for a reload."""
        text = 'nonsense = 1\nadmin_socket_path = "/run/a.sock"\nlisteners = 5\n[rate_limit]\n'
        self.assertEqual(self.found(text), "/run/a.sock")

    def test_no_toml(self) -> None:
        """In a file that is no TOML the line is found that names it."""
        text = 'admin_socket_path = "/run/a.sock"\n'
        for content in (
            text + "[",
            "[[\n" + text,
            "[[\n" + text.replace('"', "'"),
            text + "a = " + "[" * 100_000,
            text + "a = " + "9" * 5000,
            text * 2,
            text.encode() + b"# \xff\n",
        ):
            self.assertEqual(self.found(content), "/run/a.sock")

    def test_nothing_to_go_by(self) -> None:
        """Without such a line, or with one that cannot be meant, there is the default."""
        for content in ("[", "[\nadmin_socket_path = ", '[\nadmin_socket_path = "\x7f"'):
            self.assertEqual(self.found(content), DEFAULT)
        self.assertEqual(self.found('a = "b"\n' + "#" * MOST_FILE_BYTES), DEFAULT)

    def test_no_path(self) -> None:
        """A value that cannot be a path has the default."""
        for value in ("5", "true", "[]", "{}", '"/a\\u0000b"', f'"/{"x" * LONGEST_SOCKET_PATH}"'):
            self.assertEqual(self.found(f"admin_socket_path = {value}"), DEFAULT)

    def test_no_file(self) -> None:
        """A file that is not there is an error: what was meant is another one."""
        for name in ("none", "none/none"):
            self.assertRaises(FileNotFoundError, admin_path, self.directory / name)

    def test_no_permission(self) -> None:
        """A file that may not be read has the default: not everybody may who may ask."""

        def refuse(path: Path) -> bytes:
            raise PermissionError(13, "Permission denied")

        self.patch(admin_path_module, "read_bounded", refuse)
        self.assertEqual(self.found('admin_socket_path = "/run/a.sock"'), DEFAULT)

    def test_no_regular_file(self) -> None:
        """What is no regular file, or no name of a file, has the default."""
        self.assertEqual(admin_path(self.directory), DEFAULT)
        self.assertEqual(admin_path(os.devnull), DEFAULT)
        self.assertEqual(admin_path(self.directory / "a\0b"), DEFAULT)
        fifo = self.directory / "fifo"
        os.mkfifo(fifo)
        self.assertEqual(admin_path(fifo), DEFAULT)

    def test_documented_default(self) -> None:
        """The default is the model's."""
        self.assertEqual(Configuration(None, None, ()).admin_socket_path, DEFAULT)  # type: ignore[arg-type]

    @settings(max_examples=200, deadline=None)
    @given(st.text(max_size=30) | st.binary(max_size=30))
    def test_any_content(self, content: str | bytes) -> None:
        """Any content has an absolute path, or none."""
        line = b'admin_socket_path = "'
        tail = content if isinstance(content, bytes) else content.encode("utf-8", "replace")
        for start in (b"", line):
            path = self.found(start + tail)
            self.assertTrue(path == "" or path.startswith("/"), path)
