"""What log records look like, and that no value can forge one."""

from __future__ import annotations

import json
import re

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail
from twisted.logger import ILogObserver, Logger, LogLevel, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from revproxy.control.record_log import (
    LEVELS,
    TRACEBACK_CHARACTERS,
    JsonRecords,
    RecordLog,
    TextRecords,
    observe_twisted,
)
from revproxy.model.seams import AccessLog

NOON = 1_785_228_560.75
STAMP = "2026-07-28T08:49:20Z"
REQUEST = ("203.0.113.50", "git.example.com", "GET", "/user/repo", 200, "127.0.0.1:3000", 45)
KEYS = ("client_ip", "host", "method", "path", "status", "upstream", "duration_ms")

FAIL2BAN = re.compile(r"RATE_LIMIT client_ip=(\S+) host=\S+ path=\S+ status=\d+")

FIELD = re.compile(r' ([a-z_]+)=(?:"((?:[^"\\]|\\.)*)"|([^ "]+))')
ESCAPE = re.compile(r"\\(?:x(..)|u(....)|U(........)|(.))")

profile = settings(max_examples=300, deadline=None, derandomize=True, database=None)
nasty = st.sampled_from(
    [
        "-",
        " ",
        "/x status=200",
        "/a\r\nb",
        "\x1b[31m",
        "\u2028",
        "\udc80",
        '"',
        "\\",
        '\\" status=1',
        "/\\x41",
        "é",
        "\U0001f600",
        "x RATE_LIMIT client_ip=192.0.2.6 host=a path=/ status=429",
    ]
)
pieces = st.text(alphabet=st.characters(exclude_categories=()), max_size=12)
values = nasty | pieces | st.tuples(pieces, nasty, pieces).map("".join)


def unescape(found: re.Match[str]) -> str:
    code = found[1] or found[2] or found[3]
    return chr(int(code, 16)) if code else found[4]


def parse(line: str) -> tuple[str, str, str, dict[str, str | None]]:
    """Timestamp, level, event and fields of a text line, as a strict reader sees them."""
    stamp, level, rest = line.split(" ", 2)
    event, space, tail = rest.partition(" ")
    fields: dict[str, str | None] = {}
    at, tail = 0, space + tail
    while at < len(tail):
        found = FIELD.match(tail, at)
        assert found is not None, line
        at = found.end()
        quoted, bare = found[2], found[3]
        assert found[1] not in fields, line
        fields[found[1]] = None if bare == "-" else bare or ESCAPE.sub(unescape, quoted)
    return stamp, level, event, fields


class ListSink:
    """Keeps the lines that it is handed."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.also: list[str | None] = []

    def write(self, line: str, also: str | None) -> None:
        self.lines.append(line)
        self.also.append(also)


class TickingClock:
    """A clock that is set by hand."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class LogCase(SynchronousTestCase):
    """A log in either format that writes to a list."""

    def setUp(self) -> None:
        self.clock = TickingClock(NOON)
        self.sink = ListSink()
        self.text = RecordLog(TextRecords(self.clock), "info", self.sink.write)
        self.json = RecordLog(JsonRecords(self.clock), "info", self.sink.write)

    def line(self) -> str:
        self.assertEqual(len(self.sink.lines), 1)
        return self.sink.lines.pop()


class TextTests(LogCase):
    def test_request(self) -> None:
        """A REQUEST record is exactly the contract's line."""
        self.text.request(*REQUEST)
        self.assertEqual(
            self.line(),
            f"{STAMP} INFO REQUEST client_ip=203.0.113.50 host=git.example.com method=GET "
            "path=/user/repo status=200 upstream=127.0.0.1:3000 duration_ms=45",
        )

    def test_more(self) -> None:
        """Further fields follow the fixed ones, and the site's file goes with the line."""
        more = (("bytes", 12), ("proto", "HTTP/1.1"), ("tls", None), ("resumed", True))
        self.text.request(*REQUEST, more, "/var/log/site.log")
        self.assertTrue(
            self.line().endswith("duration_ms=45 bytes=12 proto=HTTP/1.1 tls=- resumed=true")
        )
        self.assertEqual(self.sink.also, ["/var/log/site.log"])

    def test_missing(self) -> None:
        """Missing values are a dash, in the fixed fields too."""
        for upstream in ("", "-"):
            self.text.request("192.0.2.1", "", "GET", "/", 400, upstream, 0)
            self.assertIn(" host=- method=GET path=/ status=400 upstream=- ", self.line())
            self.text.request("192.0.2.1", "a", "GET", "/", 429, upstream, 0)
            self.assertIn(" status=429 upstream=- duration_ms=0", self.line())

    def test_contract_lines(self) -> None:
        """The other records of the contract come out as written there."""
        for level, event, fields, expected in (
            (
                "warn",
                "RATE_LIMIT",
                (
                    ("client_ip", "203.0.113.50"),
                    ("host", "git.example.com"),
                    ("path", "/login"),
                    ("status", 429),
                ),
                "WARN RATE_LIMIT client_ip=203.0.113.50 host=git.example.com path=/login "
                "status=429",
            ),
            (
                "warn",
                "UPSTREAM_ERROR",
                (
                    ("host", "git.example.com"),
                    ("upstream", "127.0.0.1:3000"),
                    ("error", "connection refused"),
                ),
                "WARN UPSTREAM_ERROR host=git.example.com upstream=127.0.0.1:3000 "
                'error="connection refused"',
            ),
            (
                "info",
                "CONFIG_RELOAD",
                (("status", "success"), ("sites", 1)),
                "INFO CONFIG_RELOAD status=success sites=1",
            ),
            (
                "warn",
                "BAN",
                (("client_ip", "203.0.113.50"), ("seconds", 3600), ("reason", "auth")),
                'WARN BAN client_ip=203.0.113.50 seconds=3600 reason="auth"',
            ),
            ("info", "START", (), "INFO START"),
        ):
            self.text.record(level, event, fields)
            self.assertEqual(self.line(), f"{STAMP} {expected}")

    def test_bare_and_quoted(self) -> None:
        """Paths with an equals sign stay readable; what needs quotes is escaped in them."""
        for path, shown in (
            ("/a=b&c;%20'", "/a=b&c;%20'"),
            ("-", '"-"'),
            ("/-", "/-"),
            ("/x status=200", '"/x\\x20status\\x3d200"'),
            ('/"', '"/\\""'),
            ("/\\", '"/\\\\"'),
            ("/\r\n\x1b\x7f", '"/\\x0d\\x0a\\x1b\\x7f"'),
            ("/\xe9\u2028\udc80\U0001f600", '"/\\xe9\\u2028\\udc80\\U0001f600"'),
        ):
            self.text.request("192.0.2.1", "a", "GET", path, 200, "b", 0)
            self.assertIn(f" method=GET path={shown} status=200 ", self.line())

    def test_forged_record_never_matches_the_filter(self) -> None:
        """A filter without anchors finds the record's own address only, in either format."""
        forged = "x RATE_LIMIT client_ip=192.0.2.6 host=a path=/ status=429"
        for log in (self.text, self.json):
            log.request("203.0.113.50", forged, forged, forged, 400, forged, 0)
            self.assertIsNone(FAIL2BAN.search(self.line()))
        fields = (("client_ip", "203.0.113.50"), ("host", "a"), ("path", forged), ("status", 429))
        self.text.record("warn", "RATE_LIMIT", fields)
        self.assertEqual(FAIL2BAN.findall(self.line()), ["203.0.113.50"])

    @profile
    @given(st.tuples(values, values, values, values, values))
    @example(("-", "-", "-", "-", "a"))
    @example(("a", "b status=1", "c", "d", "e"))
    def test_request_parses_back(self, given: tuple[str, ...]) -> None:
        """Any values give one line of ASCII that parses back to them."""
        client_ip, host, method, path, upstream = given
        self.text.request(client_ip, host, method, path, 200, upstream, 45)
        line = self.line()
        self.assertTrue(line.isascii() and line.isprintable())
        self.assertEqual(len(line.split(" ")), 3 + len(KEYS))
        if upstream == "-":
            upstream = ""
        expected = (client_ip, host, method, path, "200", upstream, "45")
        self.assertEqual(
            parse(line),
            (
                STAMP,
                "INFO",
                "REQUEST",
                {k: v or None for k, v in zip(KEYS, expected, strict=True)},
            ),
        )

    @profile
    @given(values, values)
    def test_record_parses_back(self, path: str, error: str) -> None:
        """The same holds for any record, and for keys that are always quoted."""
        self.text.record("error", "UPSTREAM_ERROR", (("path", path), ("error", error)))
        line = self.line()
        self.assertTrue(line.isascii() and line.isprintable())
        self.assertEqual(parse(line)[3], {"path": path or None, "error": error or None})


class JsonTests(LogCase):
    def test_request(self) -> None:
        """A record is one object with numbers as numbers and null for what is missing."""
        more = (("bytes", 12), ("ratio", 0.5), ("proto", ""), ("resumed", False))
        self.json.request("192.0.2.1", "", "GET", "/", 429, "-", 3, more, "site.log")
        self.assertEqual(self.sink.also, ["site.log"])
        self.assertEqual(
            json.loads(self.line()),
            {
                "timestamp": STAMP,
                "level": "INFO",
                "event": "REQUEST",
                "client_ip": "192.0.2.1",
                "host": None,
                "method": "GET",
                "path": "/",
                "status": 429,
                "upstream": None,
                "duration_ms": 3,
                "bytes": 12,
                "ratio": 0.5,
                "proto": None,
                "resumed": False,
            },
        )

    def test_not_a_number(self) -> None:
        """Numbers that JSON does not have become strings."""
        self.json.record("error", "X", (("a", float("inf")), ("b", float("nan"))))
        line = self.line()
        self.assertIn('"a":"inf","b":"nan"', line)

    @profile
    @given(values, values)
    def test_parses_back(self, path: str, error: str) -> None:
        """Any values give one line of ASCII that parses back to them."""
        self.json.record("warn", "UPSTREAM_ERROR", (("path", path), ("error", error)))
        line = self.line()
        self.assertTrue(line.isascii() and "\n" not in line and "\r" not in line)
        record = json.loads(line)
        self.assertEqual((record["path"], record["error"]), (path or None, error or None))


class LevelTests(LogCase):
    def test_levels(self) -> None:
        """A level keeps itself and what is more severe, and nothing else."""
        for kept, level in enumerate(LEVELS, 1):
            log: AccessLog = RecordLog(TextRecords(self.clock), level, self.sink.write)
            for name in LEVELS:
                log.record(name, "X", ())
            self.assertEqual(
                [line.split()[1].lower() for line in self.sink.lines], [*LEVELS[:kept]]
            )
            self.assertEqual([log.enabled(name) for name in LEVELS].count(True), kept)
            self.sink.lines.clear()

    def test_requests_are_info(self) -> None:
        """Requests are dropped under level warn."""
        RecordLog(TextRecords(self.clock), "warn", self.sink.write).request(*REQUEST)
        self.assertEqual(self.sink.lines, [])

    def test_unknown_level(self) -> None:
        """A level that does not exist is refused."""
        self.assertRaises(ValueError, RecordLog, TextRecords(self.clock), "all", self.sink.write)

    def test_timestamp_follows_the_clock(self) -> None:
        """The timestamp changes with the second, backwards too."""
        for now, stamp in ((NOON, "20Z"), (NOON + 0.2, "20Z"), (NOON + 0.3, "21Z"), (NOON, "20Z")):
            self.clock.now = now
            self.text.request(*REQUEST)
            self.assertEqual(self.line().split()[0], STAMP.replace("20Z", stamp))


class UnprintableError(Exception):
    """An exception that cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class TwistedTests(LogCase):
    def setUp(self) -> None:
        super().setUp()
        self.log = RecordLog(TextRecords(self.clock), "trace", self.sink.write)
        self.observer = observe_twisted(self.log)
        self.logger = Logger("revproxy.test", observer=self.observer)

    def test_is_an_observer(self) -> None:
        """Twisted accepts it as an observer."""
        self.assertTrue(verifyObject(ILogObserver, self.observer))

    def test_failure(self) -> None:
        """An exception is one error record with its whole traceback in one line."""
        try:
            raise ValueError("two\nlines status=200")
        except ValueError:
            self.logger.failure("while {doing}", doing="a thing")
        _, level, event, fields = parse(self.line())
        self.assertEqual((level, event), ("ERROR", "TWISTED"))
        self.assertEqual(fields["namespace"], "revproxy.test")
        self.assertEqual(fields["message"], "while a thing")
        self.assertIn("builtins.ValueError: two\nlines status=200", fields["traceback"] or "")
        self.assertIn("test_failure", fields["traceback"] or "")

    def test_unprintable_failure(self) -> None:
        """An exception that cannot be shown is recorded all the same."""
        self.observer({"log_level": LogLevel.critical, "log_failure": Failure(UnprintableError())})
        self.assertEqual(parse(self.line())[1], "ERROR")

    def test_unhandled_error(self) -> None:
        """What Twisted says of an exception nobody took is an error record."""
        globalLogPublisher.addObserver(self.observer)
        self.addCleanup(globalLogPublisher.removeObserver, self.observer)
        lost: Deferred[None] | None = fail(ValueError("lost"))
        del lost
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        errors = [parse(line) for line in self.sink.lines if " ERROR " in line]
        self.assertTrue(any("lost" in (error[3].get("traceback") or "") for error in errors))

    def test_levels(self) -> None:
        """Errors and warnings keep their level, remarks are debug, debugging is trace."""
        for name in ("critical", "error", "warn", "info", "debug"):
            getattr(self.logger, name)("said {name}", name=name)
        self.assertEqual(
            [parse(line)[1] for line in self.sink.lines],
            ["ERROR", "ERROR", "WARN", "DEBUG", "TRACE"],
        )

    def test_python_warning(self) -> None:
        """A Python warning from Twisted's legacy log is a warn record."""
        self.observer(
            {
                "log_level": LogLevel.info,
                "warning": "old",
                "category": "DeprecationWarning",
                "log_format": "{category}: {warning}",
            }
        )
        _, level, _, fields = parse(self.line())
        self.assertEqual((level, fields["message"]), ("WARN", "DeprecationWarning: old"))

    def test_bad_format(self) -> None:
        """An event whose format cannot be filled in is recorded all the same."""
        self.observer({"log_level": LogLevel.error, "log_format": "{missing!z}"})
        self.assertEqual(parse(self.line())[1], "ERROR")

    def test_long_traceback(self) -> None:
        """Of a very long traceback the end is kept."""
        failure = Failure(ValueError("x" * 2 * TRACEBACK_CHARACTERS + "end"))
        self.observer({"log_level": LogLevel.critical, "log_failure": failure})
        traceback = parse(self.line())[3]["traceback"] or ""
        self.assertEqual(len(traceback), TRACEBACK_CHARACTERS)
        self.assertTrue(traceback.rstrip().endswith("end"))

    def test_under_the_level(self) -> None:
        """Events under the level are not even formatted."""
        observer = observe_twisted(RecordLog(TextRecords(self.clock), "info", self.sink.write))
        observer({"log_level": LogLevel.info, "log_format": "Starting factory"})
        self.assertEqual(self.sink.lines, [])
