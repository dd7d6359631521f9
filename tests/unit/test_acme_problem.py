"""Problem documents: what is kept of them, and what is made of anything else."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from revproxy.tls.acme.problem import (
    MAX_DETAIL,
    MAX_TYPE,
    MOST_SUBPROBLEMS,
    PREFIX,
    AcmeProblem,
    CannotReach,
    Problem,
    harmless,
    problem_of,
    read_problem,
)

FUZZ = settings(deadline=None, derandomize=True, max_examples=300)
REPLACED = "\N{REPLACEMENT CHARACTER}"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
MEMBERS = ("type", "detail", "status", "identifier", "subproblems", "value")


def subproblem(name: str, code: str = "caa", detail: str = "no") -> dict[str, Any]:
    identifier = {"type": "dns", "value": name}
    return {"type": PREFIX + code, "detail": detail, "identifier": identifier}


def read(document: object, status: int = 400, retry_after: float | None = None) -> Problem:
    return read_problem(json.dumps(document).encode(), status, retry_after)


class DocumentTests(SynchronousTestCase):
    def test_whole(self) -> None:
        """Type, words, status, name and wait are kept as the authority gave them."""
        detail = "Error creating new order :: see https://ca.test/limits"
        document = {**subproblem("A.test", "rateLimited", detail), "status": 429}
        found = read(document, 429, 60.0)
        expected = Problem(PREFIX + "rateLimited", detail, 429, "a.test", (), 60.0)
        self.assertEqual(found, expected)
        self.assertEqual(found.code, "rateLimited")
        self.assertEqual(str(found), f"{detail} (rateLimited, HTTP 429)")

    def test_other_types(self) -> None:
        """A type that is not ACME's is kept, and has no code; one of tomorrow's has its own."""
        self.assertEqual(read({"type": "about:blank"}).code, "")
        self.assertEqual(read({"type": "about:blank"}).type, "about:blank")
        self.assertEqual(read({"type": PREFIX + "orderOfTomorrow"}).code, "orderOfTomorrow")

    def test_status(self) -> None:
        """The response's status counts; the document's where there is no response of its own."""
        self.assertEqual(read({"status": 200}, 503).status, 503)
        self.assertEqual(problem_of({"status": 403}).status, 403)

    def test_wrong_status(self) -> None:
        """A status that is none is left out."""
        for status in (-1, 1000, 10**40, True, 4.5, "403", None, [403]):
            self.assertIs(type(problem_of({"status": status}).status), int)
            self.assertEqual(problem_of({"status": status}).status, 0, status)

    def test_wrong_members(self) -> None:
        """Members of another kind than they should have are left out, and the others are kept."""
        for wrong in (None, 1, True, [], ["x"], {}, {"value": 1}, {"value": None}):
            for member in ("type", "detail", "identifier", "subproblems"):
                document = {"type": PREFIX + "dns", "detail": "words", member: wrong}
                found = read(document)
                self.assertEqual(found.code, "" if member == "type" else "dns")
                self.assertEqual(found.detail, "" if member == "detail" else "words")
                self.assertEqual((found.identifier, found.subproblems), ("", ()))

    def test_bounds(self) -> None:
        """However much an authority says, what is kept has an end."""
        many = [subproblem(f"{number}.test", "c" * 9999, "d" * 9999) for number in range(999)]
        found = read({**subproblem("n" * 9999, "c" * 9999, "d" * 9999), "subproblems": many})
        self.assertEqual(len(found.subproblems), MOST_SUBPROBLEMS)
        for one in (found, *found.subproblems):
            self.assertEqual((len(one.detail), len(one.type)), (MAX_DETAIL, MAX_TYPE))
        self.assertEqual(len(found.identifier), 260)
        self.assertLess(len(str(found)), 20 * MAX_DETAIL)

    def test_controls(self) -> None:
        """What a terminal or a log would act on is replaced, wherever it stands."""
        evil = "a\x1b[2J\r\n\0\x9b\u202e\u2028b"
        found = read({**subproblem(evil, evil, evil), "subproblems": [subproblem(evil)]})
        for text in (found.type, found.detail, found.identifier, str(found), found.code):
            self.assertTrue(text.isprintable(), text)
        self.assertIn(f"a{REPLACED}[2J{REPLACED * 6}b", found.detail)


class SubproblemTests(SynchronousTestCase):
    def test_names(self) -> None:
        """Each name that was refused is told, with what is wrong with it (RFC 8555 6.7.1)."""
        several = [subproblem("b.test", "caa", "CAA forbids it"), subproblem("C.test", "dns")]
        found = read({"type": PREFIX + "compound", "detail": "two", "subproblems": several})
        self.assertEqual(found.names, {"b.test", "c.test"})
        self.assertEqual([one.code for one in found.subproblems], ["caa", "dns"])
        self.assertIn("b.test: CAA forbids it", str(found))

    def test_nonsense_between(self) -> None:
        """What is no subproblem among them is passed over."""
        found = read({"subproblems": [1, None, "x", [], subproblem("b.test")]})
        self.assertEqual(found.names, {"b.test"})

    def test_of_subproblems(self) -> None:
        """There is one level of them."""
        nested = {**subproblem("b.test"), "subproblems": [subproblem("c.test")]}
        self.assertEqual(read({"subproblems": [nested]}).names, {"b.test"})

    def test_not_for_one(self) -> None:
        """A refusal that is about no name names none."""
        self.assertEqual(read({"detail": "x"}).names, frozenset())


class OtherContentTests(SynchronousTestCase):
    def test_html(self) -> None:
        """A page of HTML in place of a document: its first words, its status and its wait."""
        page = b"<html>\r\n <head><title>503 Service Temporarily Unavailable</title></head>"
        found = read_problem(page + b"x" * 9999, 503, 120.0)
        self.assertTrue(found.detail.startswith("<html> <head><title>503 Service Temporarily"))
        self.assertLessEqual(len(found.detail), 200)
        self.assertEqual((found.code, found.status, found.retry_after), ("", 503, 120.0))

    def test_no_object(self) -> None:
        """JSON that is no object, broken JSON and no UTF-8 are words like any other."""
        for content in (b"[]", b"null", b'"x"', b'{"type": ', b"\xff\xfe\x00", b"1" * 5000):
            self.assertEqual(read_problem(content, 500).type, "")
            self.assertEqual(read_problem(content, 500).status, 500)

    def test_deep(self) -> None:
        """JSON that is nested beyond all measure is no document."""
        self.assertEqual(read_problem(b"[" * 500_000, 500).type, "")
        self.assertEqual(read_problem(b'{"a":' * 200_000, 500).type, "")

    def test_nothing(self) -> None:
        """An empty body says no more than its status."""
        self.assertEqual(str(read_problem(b"", 502)), "no reason given (HTTP 502)")
        self.assertEqual(str(Problem("", "")), "no reason given")


class ErrorTests(SynchronousTestCase):
    def test_acme_problem(self) -> None:
        """The exception says what the problem says."""
        found = Problem(PREFIX + "caa", "forbidden", 403)
        self.assertEqual(str(AcmeProblem(found)), "forbidden (caa, HTTP 403)")
        self.assertIs(AcmeProblem(found).problem, found)

    def test_cannot_reach(self) -> None:
        """It tells the URL, which an authority may have given, without what it could do."""
        error = CannotReach("https://ca.test/\x1b[2J" + "x" * 9999, "bad\nthing")
        self.assertTrue(str(error).isprintable())
        self.assertLess(len(str(error)), 2 * MAX_DETAIL + 10)
        self.assertTrue(str(error).endswith(f": bad{REPLACED}thing"))

    def test_harmless(self) -> None:
        """Text in any script is kept as it is."""
        text = "Zertifikat für пример und 例え"
        self.assertEqual(harmless(text), text)
        self.assertEqual(harmless("\ud800"), REPLACED)


class FuzzTests(SynchronousTestCase):
    @FUZZ
    @given(st.dictionaries(st.sampled_from(MEMBERS), JSON), st.integers(100, 599))
    def test_any_object(self, document: dict[str, Any], status: int) -> None:
        """Any object gives a problem that can be shown."""
        found = read_problem(json.dumps(document).encode(), status)
        self.assertTrue(str(found).isprintable())
        self.assertEqual(found.status, status)
        self.assertTrue(str(AcmeProblem(problem_of(document))).isprintable())

    @FUZZ
    @given(st.binary(max_size=200))
    @example(b"\xef\xbb\xbf{}")
    @example(b"1e999")
    @example(b'{"detail": "\\ud800"}')
    def test_any_bytes(self, content: bytes) -> None:
        """Any bytes do."""
        self.assertTrue(str(read_problem(content, 400)).isprintable())
