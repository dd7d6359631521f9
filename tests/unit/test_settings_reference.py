"""The configuration reference: what its tables say is what the readers do."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from revproxy.settings import reference, reference_text
from revproxy.settings.document import Node, Problems
from revproxy.settings.fields import above_zero, one_of, seconds, whole
from revproxy.settings.names import bind_address, network
from revproxy.settings.section import Read, Section, list_of
from tests.support.configurations import mistakes, read


def keys() -> Iterator[tuple[reference.Table, str, Read[Any]]]:
    """Every key of every table that is served, with its reader."""
    for table in reference.tables():
        for key, reader in table.section.readers.items():
            yield table, key, reader


def accepted(reader: Read[Any], value: Any) -> bool:
    """Whether ``reader`` takes ``value``."""
    try:
        reader(Node(value, Path("/"), Problems()))
    except ValueError:
        return False
    return True


class WordsTests(SynchronousTestCase):
    """What readers say that they accept."""

    def test_ranges(self) -> None:
        """The ends of every range that is told are the ends of what is accepted."""
        told = 0
        for _, key, reader in keys():
            if match := re.search(r"from (\d+) to (\d+)", reader.accepts.words):
                low, high = map(int, match.groups())
                found = [accepted(reader, n) for n in (low - 1, low, high, high + 1)]
                self.assertEqual(found, [False, True, True, False], key)
            elif match := re.search(r"above 0, at most (\d+)", reader.accepts.words):
                high = int(match[1])
                found = [accepted(reader, n) for n in (0, 1e-9, high, high + 1)]
                self.assertEqual(found, [False, True, True, False], key)
            told += match is not None
        self.assertGreater(told, 30)

    def test_closed_lists(self) -> None:
        """Every word that is told is accepted."""
        reader = one_of("a", "b", "c")
        self.assertEqual(reader.accepts.words, '`"a"`, `"b"` or `"c"`')
        self.assertEqual(one_of("a").accepts.words, '`"a"`')
        self.assertTrue(all(accepted(reader, word) for word in "abc"))

    def test_numbers(self) -> None:
        """A range is written out, without exponent."""
        self.assertEqual(whole(1, 10**9).accepts.words, "whole number from 1 to 1000000000")
        self.assertEqual(above_zero(1e9).accepts.words, "number above 0, at most 1000000000")
        self.assertEqual(above_zero(0.5).accepts.words, "number above 0, at most 0.5")
        self.assertEqual(seconds(zero=True).accepts.words, "seconds from 0 to 86400")

    def test_arrays(self) -> None:
        """An array tells what its elements are, and whether it may be empty."""
        self.assertEqual(list_of(network).accepts.words, "array of: network or address")
        self.assertEqual(
            list_of(bind_address, at_least=1).accepts.words,
            "array, not empty, of: IPv4 or IPv6 address",
        )


class PageTests(SynchronousTestCase):
    """The page that is made."""

    def test_every_table_once(self) -> None:
        """Tables stand in the order of the file, as they are written in it."""
        titles = [table.title for table in reference.tables()]
        self.assertEqual(
            [title for title in titles if "listeners" in title or "sites" in title],
            [
                "`[[listeners]]`",
                "`[listeners.tls]`",
                "`[[listeners.tls.certificates]]`",
                "`[listeners.tls.acme_eab]`",
                "`[[listeners.sites]]`",
                "`[[listeners.passthrough]]`",
                "`[[sites]]`",
            ],
        )
        self.assertEqual(titles[:2], ["Top level", "`[logging]`"])
        self.assertEqual(len(set(titles)), len(titles))

    def test_every_key_has_a_meaning(self) -> None:
        """No cell of a table is empty."""
        self.assertNotIn("|  |", reference.page())
        for table, key, reader in keys():
            self.assertTrue(reference.meaning(table.section, key), key)
            self.assertTrue(reader.accepts.words, key)

    def test_defaults_are_toml(self) -> None:
        """A default that is shown is accepted as it stands, and is the default."""
        page = reference.page()
        shown = 0
        for table, key, reader in keys():
            pattern = rf"^\| `{key}`.*?\| .*? \| `(.*?)` \|"
            part = page.partition(f"## {table.title}\n")[2].partition("\n## ")[0]
            row = re.search(pattern, part, re.M) or re.search(pattern, page, re.M)
            default = table.section.defaults.get(key)
            if default is not None and default != () and not attrs.has(type(default)):
                assert row is not None, key
                value = tomllib.loads(f"x = {row[1]}")["x"]
                self.assertEqual(reader(Node(value, Path("/"), Problems())), default)
                shown += 1
        self.assertGreater(shown, 25)

    def test_static_fields(self) -> None:
        """Fields that a reload does not change are marked, and others are not."""
        rows = re.findall(r"^\| `(\w+)`( \*\*S\*\*)? \|", reference.page(), re.MULTILINE)
        marks = {key: bool(mark) for key, mark in rows if key != "log_file_path"}
        self.assertTrue(marks["bind_addr"] and marks["http_port"] and marks["level"])
        self.assertFalse(marks["tls"] or marks["include"] or marks["limits"] or marks["host"])

    def test_unavailable_keys(self) -> None:
        """A key that is not available yet stands in the last part and in no table."""
        tables, _, closing = reference.page().partition("## Not available yet")
        for key in ("compress", "deny", "routes", "upstreams"):
            self.assertNotIn(f"`{key}`", tables)
            self.assertEqual(closing.count(f"`{key}`"), 1, key)

    def test_remarks_have_tables(self) -> None:
        """No remark stands beside a table that there is none of."""
        places = {table.place for table in reference.tables()}
        self.assertLessEqual(reference_text.REMARKS.keys(), places)

    def test_unknown_key(self) -> None:
        """A key that neither model nor section describes cannot be published."""
        section = Section(reference.Table, {"colour": whole(0, 1)})
        self.assertRaises(KeyError, reference.meaning, section, "colour")

    def test_example(self) -> None:
        """The smallest file is valid, and is none without any one of its lines."""
        read(reference_text.EXAMPLE)
        lines = reference_text.EXAMPLE.splitlines()
        for index, line in enumerate(lines):
            if "=" in line:
                rest = "\n".join(lines[:index] + lines[index + 1 :])
                self.assertNotEqual(mistakes(rest), [], line)
