"""Files: what can be wrong with one before its first key is read, and includes."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from revproxy.errors import ConfigErrors
from revproxy.settings import files, includes, load
from revproxy.settings.files import MOST_FILE_BYTES, read_bounded
from revproxy.settings.includes import MOST_FILES
from tests.support.configurations import MINIMAL, minimal, mistakes

INCLUDING = 'include = ["sites-enabled/*.toml"]\n' + MINIMAL


def site(host: str, more: str = "") -> str:
    """The text of an included file with one site."""
    return f'[[sites]]\nhost = "{host}"\nupstream = "127.0.0.1:1"\n{more}\n'


class FileTestCase(SynchronousTestCase):
    """A directory of its own to write files into."""

    def setUp(self) -> None:
        """Make the directory."""
        self.directory = Path(self.mktemp()).absolute()
        self.main = self.directory / "config.toml"
        (self.directory / "sites-enabled").mkdir(parents=True)

    def write(self, name: str, content: str | bytes) -> None:
        """Write a file below the directory."""
        content = content.encode() if isinstance(content, str) else content
        (self.directory / name).write_bytes(content)

    def found(self) -> list[str]:
        """What is wrong with the main file and what it includes."""
        try:
            load(self.main)
        except ConfigErrors as found:
            return [str(error) for error in found.errors]
        return []

    def content(self, content: str | bytes) -> str:
        """The one thing wrong with a main file of this content, less its name."""
        self.write("config.toml", content)
        (found,) = self.found()
        self.assertTrue(found.startswith(f"{self.main}: "))
        return found.removeprefix(f"{self.main}: ")


class ReadingTests(FileTestCase):
    """One file."""

    def test_valid(self) -> None:
        """A path is taken as a string too, and relative paths start from the file."""
        self.write("config.toml", MINIMAL.replace("/etc/ssl/", "ssl/"))
        relative = os.path.relpath(self.main)
        (pair,) = load(relative).listeners[0].tls.pairs
        self.assertEqual(pair.key_path, str(self.directory / "ssl/example.com/privkey.pem"))

    def test_wildcard_argument(self) -> None:
        """The command line's permission reaches the rules."""
        self.write("config.toml", MINIMAL.replace("203.0.113.10", "0.0.0.0"))
        self.assertEqual(len(self.found()), 1)
        self.assertIs(load(self.main, allow_wildcard_bind=True).allow_wildcard_bind, True)

    def test_missing(self) -> None:
        """A missing file is named with the reason."""
        self.assertEqual(self.found(), [f"{self.main}: cannot be read: No such file or directory"])

    def test_not_regular(self) -> None:
        """A directory or a FIFO is not waited for."""
        os.mkfifo(self.main)
        self.assertEqual(self.found(), [f"{self.main}: cannot be read: not a regular file"])

    def test_exchanged(self) -> None:
        """Nor is a FIFO that takes a file's place when it has been looked at already."""
        self.write("config.toml", MINIMAL)
        really = files._open_at_once

        def exchange_and_open(path: str, flags: int) -> int:
            os.unlink(path)
            os.mkfifo(path)
            return really(path, flags)

        self.patch(files, "_open_at_once", exchange_and_open)
        self.assertRaises(ValueError, read_bounded, self.main)
        self.assertEqual(self.found(), [f"{self.main}: cannot be read: not a regular file"])

    def test_syntax(self) -> None:
        """A syntax error has its line and column."""
        self.assertEqual(
            self.content("a = 1\nb = = 2\n"),
            "not valid TOML: Invalid value (at line 2, column 5)",
        )

    def test_not_utf8(self) -> None:
        """So has a byte that is no UTF-8, with columns in characters."""
        self.assertEqual(
            self.content("a = 1\n# ü ".encode() + b"\xff"),
            "not UTF-8 (at line 2, column 5)",
        )
        self.assertEqual(self.content(b"\xff"), "not UTF-8 (at line 1, column 1)")

    def test_too_large(self) -> None:
        """A file is read up to its bound."""
        self.assertEqual(
            self.content(b"#" * (MOST_FILE_BYTES + 1)),
            "cannot be read: larger than 4194304 bytes",
        )

    def test_too_deep(self) -> None:
        """Nesting that would exhaust the stack is an error like others."""
        self.assertEqual(self.content("a = " + "[" * 50_000), "not valid TOML: nested too deeply")

    def test_long_number(self) -> None:
        """So is a number with too many digits to be converted."""
        self.assertEqual(self.content("a = " + "9" * 5000), "not valid TOML: a number is too long")


class IncludeTests(FileTestCase):
    """``include``."""

    def test_sites_in_name_order(self) -> None:
        """Included sites come after those of listeners, by the names of their files."""
        self.write("config.toml", INCLUDING)
        self.write("sites-enabled/b.toml", site("b.example"))
        self.write("sites-enabled/a.toml", site("a.example") + site("c.example"))
        self.write("sites-enabled/.hidden.toml", "nonsense")
        self.write("sites-enabled/a.toml.bak", "nonsense")
        configuration = load(self.main)
        self.assertEqual(
            [site.host for site in configuration.all_sites()],
            ["example.com", "a.example", "c.example", "b.example"],
        )
        self.assertEqual(len(configuration.sites), 3)

    def test_strange_links(self) -> None:
        """A link that may not be followed is left to whoever reads it."""
        self.write("config.toml", INCLUDING)
        (self.directory / "sites-enabled/a.toml").mkdir()

        def forbidden(path: Path) -> str:
            raise PermissionError(path)

        self.patch(includes, "realpath", forbidden)
        self.assertEqual(
            self.found(), ["sites-enabled/a.toml: cannot be read: not a regular file"]
        )

    def test_listeners(self) -> None:
        """Included listeners count as those of the main file, and may be the only ones."""
        top, _, listeners = INCLUDING.partition("[[listeners]]")
        self.write("config.toml", top)
        self.write("sites-enabled/a.toml", "[[listeners]]" + listeners)
        self.assertEqual(load(self.main).listeners[0].bind_addr, "203.0.113.10")

    def test_choice_of_listeners(self) -> None:
        """An included site may name listeners, in any spelling, that exist in any file."""
        self.write("config.toml", INCLUDING.replace("203.0.113.10", "2001:db8::1"))
        self.write("sites-enabled/a.toml", site("a.example", 'listeners = ["2001:DB8:0::1"]'))
        self.assertEqual(load(self.main).sites[0].listeners, ("2001:db8::1",))
        self.write("sites-enabled/a.toml", site("a.example", 'listeners = ["192.0.2.1", "x"]'))
        self.write("sites-enabled/b.toml", site("b.example", "listeners = []"))
        self.write("sites-enabled/c.toml", site("c.example", 'listeners = ["192.0.2.1"]'))
        self.assertEqual(
            self.found(),
            [
                "sites-enabled/a.toml: sites[0].listeners[1]: must be an IPv4 or IPv6 address "
                'without brackets or port, not "x"',
                "sites-enabled/b.toml: sites[0].listeners: must not be empty",
                "sites-enabled/c.toml: sites[0].listeners[0]: no listener has the bind_addr "
                "192.0.2.1",
            ],
        )

    def test_relative_paths(self) -> None:
        """A relative path starts from the file that holds it."""
        self.write("config.toml", INCLUDING)
        self.write("sites-enabled/a.toml", site("a.example", 'log_file_path = "a.log"'))
        self.assertEqual(
            load(self.main).sites[0].log_file_path,
            str(self.directory / "sites-enabled" / "a.log"),
        )

    def test_listener_without_sites(self) -> None:
        """Included sites are enough."""
        text = INCLUDING.partition("[[listeners.sites]]")[0]
        self.write("config.toml", text)
        self.assertEqual(len(self.found()), 1)
        self.write("sites-enabled/a.toml", site("a.example"))
        self.assertEqual(self.found(), [])

    def test_mistakes_name_their_file(self) -> None:
        """Mistakes of the main file come first, then each file's under its name."""
        self.write("config.toml", INCLUDING + "upstream_keepalive = -1\n")
        self.write("sites-enabled/a.toml", site("a b") + site("example.com"))
        self.write("sites-enabled/b.toml", "x = = 1")
        self.write("sites-enabled/c.toml", site("c.example") + "upstram = 1\n" + site("c.example"))
        self.assertEqual(
            self.found(),
            [
                "listeners[0].sites[0].upstream_keepalive: must be from 0 to 65536, not -1",
                'sites-enabled/a.toml: sites[0].host: "a b" is not a valid host name',
                'sites-enabled/a.toml: sites[1].host: "example.com" is served already, '
                "by listeners[0].sites[0]",
                "sites-enabled/b.toml: not valid TOML: Invalid value (at line 1, column 5)",
                'sites-enabled/c.toml: sites[0].upstram: unknown key, did you mean "upstream"?',
                'sites-enabled/c.toml: sites[1].host: "c.example" is served already, '
                "by sites-enabled/c.toml: sites[0]",
            ],
        )

    def test_unreadable_file_hides_no_site(self) -> None:
        """Sites that may be in an unreadable file are not reported as missing."""
        text = INCLUDING.partition("[[listeners.sites]]")[0]
        self.write("config.toml", 'default_site = "a.example"\n' + text)
        (self.directory / "sites-enabled" / "a.toml").symlink_to("nowhere")
        self.assertEqual(
            self.found(),
            ["sites-enabled/a.toml: cannot be read: No such file or directory"],
        )

    def test_foreign_keys(self) -> None:
        """An included file holds sites and listeners and nothing else."""
        self.write("config.toml", INCLUDING)
        self.write("sites-enabled/a.toml", 'include = ["b"]\nbody = {}\nstreams = 1\nsite = 1\n')
        self.assertEqual(
            self.found(),
            [
                "sites-enabled/a.toml: include: an included file cannot include others",
                "sites-enabled/a.toml: body: belongs in the main file: "
                "an included one holds only [[sites]] and [[listeners]]",
                "sites-enabled/a.toml: streams: belongs in the main file: "
                "an included one holds only [[sites]] and [[listeners]]",
                'sites-enabled/a.toml: site: unknown key, did you mean "sites"?',
            ],
        )

    def test_patterns(self) -> None:
        """A name without wildcard exists, is no main file, and is included once."""
        self.write("a.toml", site("a.example"))
        include = (
            '["nowhere.toml", "nowhere*", "a.toml", "./config.toml", "a*.toml", 5, "\\u0000"]'
        )
        self.write("config.toml", f"include = {include}\n{MINIMAL}")
        self.assertEqual(
            self.found(),
            [
                "include[0]: there is no such file",
                "include[3]: matches the main file itself",
                "include[5]: must be a string, not an integer",
                "include[6]: there is no such file",
            ],
        )

    def test_absolute_pattern(self) -> None:
        """A pattern may be absolute, and the file keeps that name."""
        self.write("a.toml", site("a b"))
        self.write("config.toml", f'include = ["{self.directory}/a.toml"]\n{MINIMAL}')
        (found,) = self.found()
        self.assertTrue(found.startswith(f"{self.directory}/a.toml: sites[0].host: "), found)

    def test_too_many_files(self) -> None:
        """The number of files is bounded."""
        self.write("config.toml", INCLUDING)
        for number in range(MOST_FILES + 1):
            self.write(f"sites-enabled/{number}.toml", "")
        self.assertEqual(self.found(), ["include: more than 1000 files"])

    def test_decoded_documents(self) -> None:
        """Documents that are decoded already are included by name, without a file."""
        included = {"b/a.toml": {"sites": [{"host": "example.com", "upstream": "a:1"}]}}
        self.assertEqual(
            mistakes(minimal(), included=included),
            ['b/a.toml: sites[0].host: "example.com" is served already, by listeners[0].sites[0]'],
        )
