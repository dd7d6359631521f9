"""The documentation keeps step: links lead somewhere, and the reference is what the model says.

Links to other sites are not followed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import attrs
from twisted.trial.unittest import SynchronousTestCase

from revproxy.model import configuration
from revproxy.settings import listeners, tables
from revproxy.settings.reference import page as made_page
from revproxy.settings.section import Section
from tests.support.configurations import read

ROOT = Path(__file__).parent.parent
CONFIGURATION = ROOT / "docs" / "configuration.md"
CONFIGURED = configuration.__name__
PLACES = ("*.md", "docs/**/*.md", "changelog.d/*.md", "bench/**/*.md", "deploy/**/*.md")

MADE_OF_KEYS = {"pairs": {"cert_path", "key_path", "certificates"}}
"""Fields of the model that no key is called by, with the keys that they are made of."""

_FENCED = re.compile(r"^(```|~~~).*?^\1", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\[[^\]]*\]\(<?([^)\s>]+)>?[^)]*\)|^\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
_TOML = re.compile(r"^```toml\n(.*?)^```", re.DOTALL | re.MULTILINE)
_ROW = re.compile(r"^\| `(\w+)`.*\|$", re.MULTILINE)
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
_ANCHOR = re.compile(r"<a (?:id|name)=\"([^\"]+)\"")


def links(text: str) -> Iterator[str]:
    """The targets of every link in a Markdown text, outside of code."""
    for inline, reference in _LINK.findall(_CODE.sub("", _FENCED.sub("", text))):
        yield inline or reference


def anchors(text: str) -> set[str]:
    """The fragments that lead into a Markdown text, as GitHub makes them from headings."""
    body = _FENCED.sub("", text)
    found = set(_ANCHOR.findall(body))
    for heading in _HEADING.findall(body):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        number = 0
        while (name := f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(name)
    return found


def broken_links(page: Path) -> list[str]:
    """The links of ``page`` that lead nowhere, each with the page's name."""
    found = []
    for link in links(page.read_text()):
        if re.match(r"[a-z][a-z0-9+.-]*:", link):
            continue
        path, _, fragment = unquote(link).partition("#")
        target = (page.parent / path) if path else page
        if not target.exists():
            found.append(f"{page.name}: {link}: no such file")
        elif fragment and fragment not in anchors(target.read_text()):
            found.append(f"{page.name}: {link}: no such heading")
    return found


class DocumentationTests(SynchronousTestCase):
    """The pages as they are."""

    def test_links_lead_somewhere(self) -> None:
        """Every relative link names a file of the project and a heading in it."""
        pages = [page for place in PLACES for page in sorted(ROOT.glob(place))]
        self.assertIn(ROOT / "README.md", pages)
        found = [broken for page in pages for broken in broken_links(page)]
        if found:
            self.fail("\n".join(["broken links:", *found]))


class ReferenceTests(SynchronousTestCase):
    """docs/configuration.md."""

    def test_not_stale(self) -> None:
        """The page is what the model and the readers say today."""
        if CONFIGURATION.read_text() != made_page():
            self.fail("docs/configuration.md is stale: run `make docs` and commit what it writes")

    def test_every_field_is_described(self) -> None:
        """Every field of the model is a row, or made of keys that are rows."""
        rows = set(_ROW.findall(made_page()))
        for model in vars(configuration).values():
            if isinstance(model, type) and attrs.has(model) and model.__module__ == CONFIGURED:
                for field in attrs.fields(model):
                    self.assertLessEqual(MADE_OF_KEYS.get(field.name, {field.name}), rows, model)

    def test_every_key_is_named(self) -> None:
        """Every key that a table reads has a row."""
        page = made_page()
        sections = [
            section
            for module in (tables, listeners)
            for section in vars(module).values()
            if isinstance(section, Section)
        ]
        self.assertIn(tables.main_file, sections)
        for section in sections:
            for key in section.readers:
                self.assertIn(f"`{key}`", page)

    def test_examples_are_valid(self) -> None:
        """A whole file that the page or the README shows is accepted."""
        for page in (CONFIGURATION, ROOT / "README.md"):
            examples = [text for text in _TOML.findall(page.read_text()) if "[body]" in text]
            self.assertNotEqual(examples, [], page)
            for example in examples:
                read(example)


class LinkCheckTests(SynchronousTestCase):
    """The check itself."""

    def page(self, text: str) -> Path:
        """A page with ``text`` beside a page called other.md with the heading ``Two words``."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "other.md").write_text("# Two words\n\n## Two words\n")
        (folder / "page.md").write_text(text)
        return folder / "page.md"

    def test_missing_file(self) -> None:
        """A link to a file that is not there is reported."""
        self.assertEqual(len(broken_links(self.page("see [it](none.md)"))), 1)
        self.assertEqual(len(broken_links(self.page("see [it].\n\n[it]: none.md"))), 1)

    def test_missing_heading(self) -> None:
        """A link to a heading that is not there is reported, here and in another page."""
        self.assertEqual(len(broken_links(self.page("[x](#b)\n\n# A\n[y](other.md#three)"))), 2)

    def test_good_links(self) -> None:
        """Links that resolve, links in code and links to other sites are not reported."""
        text = (
            "# A `b`!\n[a](other.md) [b](other.md#two-words-1) [c](#a-b) `[d](none)`\n"
            "```\n[e](none)\n```\n[f](https://example.com/#x)"
        )
        self.assertEqual(broken_links(self.page(text)), [])
