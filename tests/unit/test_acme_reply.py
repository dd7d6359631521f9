"""The head of a response: Retry-After, nonces, links and dates, the strange ones too."""

from __future__ import annotations

from email.utils import formatdate

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from revproxy.tls.acme.reply import MOST_RETRY_AFTER, Reply, reply_of, seconds_of

FUZZ = settings(deadline=None, derandomize=True, max_examples=400)
NOW = 1_800_000_000.0


def reply(**fields: str | list[str]) -> Reply:
    """A response with these fields, ``_`` for ``-``."""
    headers = Headers()
    for name, values in fields.items():
        given = [values] if isinstance(values, str) else values
        headers.setRawHeaders(name.replace("_", "-"), given)
    return reply_of(200, headers, b"content", NOW)


class RetryAfterTests(SynchronousTestCase):
    def test_seconds(self) -> None:
        """A number is a wait in seconds."""
        self.assertEqual(seconds_of("120", NOW), 120.0)
        self.assertEqual(seconds_of("0", NOW), 0.0)
        self.assertEqual(reply(Retry_After="5").retry_after, 5.0)

    def test_date(self) -> None:
        """A date is a wait until then, and none where it has passed."""
        self.assertEqual(seconds_of(formatdate(NOW + 90, usegmt=True), NOW), 90.0)
        self.assertEqual(seconds_of(formatdate(NOW - 90, usegmt=True), NOW), 0.0)

    def test_obsolete_dates(self) -> None:
        """The older forms of a date are dates too, and are in GMT (RFC 9110 5.6.7)."""
        for date in ("Friday, 15-Jan-27 08:01:30 GMT", "Fri Jan 15 08:01:30 2027"):
            self.assertEqual(seconds_of(date, NOW), 90.0, date)

    def test_huge(self) -> None:
        """A wait beyond all measure is cut, however it is written."""
        for far in ("9" * 12, "9" * 2000, str(10**400), "Fri, 31 Dec 9999 23:59:59 GMT"):
            self.assertEqual(seconds_of(far, NOW), MOST_RETRY_AFTER)

    def test_garbage(self) -> None:
        """What is neither is as if it were not there."""
        for garbage in ("", "-5", "+5", "1.5", "1e3", "soon", " ", "\N{SUPERSCRIPT TWO}", "0x10",
                        "\N{ARABIC-INDIC DIGIT FIVE}", "Fri, 99 Foo 2027 08:00:00 GMT",
                        "Fri, 15 Jan 99999 08:00:00 GMT", "Fri, 15 Jan 2027 08:00:00 +9999999",
                        "nan", "inf"):  # fmt: skip
            self.assertIsNone(seconds_of(garbage, NOW), garbage)
        self.assertIsNone(reply().retry_after)

    @FUZZ
    @given(st.text(max_size=60) | st.from_regex(r"\A[A-Z][a-z]{2}, [0-9 :A-Za-z+-]{1,60}\Z"))
    @example("Mon, 01 Jan 0001 00:00:00 +2359")
    @example("Mon, 01 Jan 0000 00:00:00 GMT")
    def test_any_text(self, text: str) -> None:
        """Any text gives a wait within bounds, or none."""
        seconds = seconds_of(text, NOW)
        self.assertTrue(seconds is None or 0 <= seconds <= MOST_RETRY_AFTER, seconds)


class NonceTests(SynchronousTestCase):
    def test_nonce(self) -> None:
        """A nonce in base64url is kept."""
        self.assertEqual(reply(Replay_Nonce="oFvnlFP1wIhRlYS2jTaXbA").nonce[:5], "oFvnl")

    def test_no_nonce(self) -> None:
        """What is not base64url, or too long, is none (RFC 8555 6.5.1)."""
        for wrong in ("", "a b", "a=", "a+b", "a/b", 'a"b', "\xe4", "x" * 1025, "a,b", "a\tb"):
            self.assertEqual(reply(Replay_Nonce=wrong).nonce, "", wrong)
        self.assertEqual(len(reply(Replay_Nonce="x" * 1024).nonce), 1024)

    def test_not_shown(self) -> None:
        """A nonce is in no repr."""
        self.assertNotIn("secretnonce", repr(reply(Replay_Nonce="secretnonce")))


class LinkTests(SynchronousTestCase):
    def alternates(self, *fields: str) -> tuple[str, ...]:
        return reply(Link=list(fields)).alternates

    def test_alternates(self) -> None:
        """Links of the relation ``alternate`` are kept in their order, and no others."""
        found = self.alternates(
            '<https://ca.test/dir>;rel="index"',
            '<https://ca.test/c/1/1>;rel="alternate"',
            "<https://ca.test/c/1/2> ; title=x ; REL = Alternate",
            '<https://ca.test/up>;rel="up"',
        )
        self.assertEqual(found, ("https://ca.test/c/1/1", "https://ca.test/c/1/2"))

    def test_in_one_field(self) -> None:
        """Several links may share a field (RFC 8288 3)."""
        found = self.alternates('<https://a>;rel="up", <https://b>;rel="alternate", <https://c>')
        self.assertEqual(found, ("https://b",))

    def test_others(self) -> None:
        """A relation that only begins so, and a field that is no link, are passed over."""
        for field in (
            "<https://a>;rel=alternates",
            "https://a;rel=alternate",
            "<>;rel=alternate",
            '<https://a>;title="rel=alternate"',
            "<<<<>>>>",
        ):
            self.assertEqual(self.alternates(field), (), field)

    def test_bounds(self) -> None:
        """Of very many links some are read, and very long ones are none."""
        many = [f'<https://ca.test/{number}>;rel="alternate"' for number in range(999)]
        self.assertEqual(len(self.alternates(*many)), 16)
        self.assertEqual(self.alternates(f'<https://{"x" * 4096}>;rel="alternate"'), ())

    def test_no_quadratic_time(self) -> None:
        """A field made for it takes no time that grows with its square."""
        self.assertEqual(self.alternates("<" * 200_000), ())
        self.assertEqual(self.alternates("<a>" + "; rel " * 100_000), ())
        self.assertEqual(self.alternates("<a>" + ";rel=" + " " * 200_000), ())


class OtherFieldTests(SynchronousTestCase):
    def test_rest(self) -> None:
        """Status, content, location and date."""
        found = reply(Location="https://ca.test/acct/1", Date=formatdate(NOW, usegmt=True))
        self.assertEqual((found.status, found.content), (200, b"content"))
        self.assertEqual((found.location, found.date), ("https://ca.test/acct/1", NOW))
        self.assertEqual((reply().location, reply().date, reply(Date="x").date), ("", None, None))

    def test_twice(self) -> None:
        """Of a field that is there twice the last counts."""
        self.assertEqual(reply(Location=["https://a", "https://b"]).location, "https://b")

    def test_not_utf8(self) -> None:
        """Fields in whatever bytes do no harm."""
        headers = Headers()
        for name in (b"Location", b"Link", b"Retry-After", b"Replay-Nonce", b"Date"):
            headers.setRawHeaders(name, [b"\xff\xfe\x80"])
        found = reply_of(200, headers, b"", NOW)
        self.assertEqual((found.nonce, found.alternates, found.retry_after), ("", (), None))

    def test_one_that_is_not_utf8(self) -> None:
        """A field in another encoding takes nothing from the others."""
        headers = Headers({b"Link": [b'<https://a>;title="\xe4";rel="alternate"']})
        headers.setRawHeaders(b"Replay-Nonce", [b"nonce"])
        found = reply_of(200, headers, b"", NOW)
        self.assertEqual((found.nonce, found.alternates), ("nonce", ("https://a",)))

    @FUZZ
    @given(st.lists(st.binary(max_size=40).filter(lambda b: not {10, 13, 0} & set(b)), max_size=3))
    def test_any_field(self, values: list[bytes]) -> None:
        """Fields of any bytes are read or passed over."""
        headers = Headers()
        for name in (b"Location", b"Link", b"Retry-After", b"Replay-Nonce", b"Date"):
            headers.setRawHeaders(name, values)
        self.assertIsInstance(reply_of(200, headers, b"", NOW), Reply)
