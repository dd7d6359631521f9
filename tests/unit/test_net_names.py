"""When an upstream's name is resolved, and which answer counts."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from revproxy.model.address import UpstreamAddress
from revproxy.net.names import FRESH_SECS, MAX_ADDRESSES, Names
from tests.support.doubles import FakeResolver

Answers = list[tuple[str, ...]]


class Reactor(Clock):
    """A clock with a name resolver."""

    def __init__(self) -> None:
        super().__init__()
        self.nameResolver = FakeResolver()


class NamesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Reactor()
        self.resolver = self.reactor.nameResolver
        self.names = self.made("up.test:80")
        self.answers: Answers = []

    def made(self, address: str) -> Names:
        return Names(UpstreamAddress.parse(address), self.reactor, self.reactor.seconds)

    def lookup(self) -> None:
        self.names.lookup(self.answers.append)

    def resolved(self, *addresses: str) -> None:
        """A name that has been looked up once."""
        self.lookup()
        self.resolver.answer(*addresses)
        self.answers.clear()

    def test_literal(self) -> None:
        """An IP address is its own answer, always at once, and nobody is asked."""
        for text, host in (("192.0.2.1:80", "192.0.2.1"), ("[2001:db8::1]:80", "2001:db8::1")):
            names = self.made(text)
            self.answers.clear()
            names.doubt()
            names.lookup(self.answers.append)
            self.reactor.advance(100)
            names.lookup(self.answers.append)
            self.assertEqual(self.answers, [(host,), (host,)])
            self.assertEqual(self.resolver.asked, [])

    def test_first_use(self) -> None:
        """The first lookup waits for the resolver; those meanwhile share its question."""
        self.lookup()
        self.lookup()
        self.assertEqual((self.answers, len(self.resolver.asked)), ([], 1))
        self.resolver.answer("192.0.2.1", "192.0.2.2")
        self.assertEqual(self.answers, [("192.0.2.1", "192.0.2.2")])

    def test_every_waiting_one_is_answered(self) -> None:
        """All who wait for the same question get its answer."""
        more: Answers = []
        self.lookup()
        self.names.lookup(more.append)
        self.resolver.answer("192.0.2.1")
        self.assertEqual((self.answers, more), ([("192.0.2.1",)], [("192.0.2.1",)]))

    def test_fresh(self) -> None:
        """A fresh answer is used at once and again."""
        self.resolved("192.0.2.1")
        self.reactor.advance(FRESH_SECS - 0.1)
        self.lookup()
        self.assertEqual((self.answers, self.resolver.asked), ([("192.0.2.1",)], []))

    def test_old(self) -> None:
        """An old answer is used at once too, and asked for again in the background, once."""
        self.resolved("192.0.2.1")
        self.reactor.advance(FRESH_SECS)
        self.lookup()
        self.lookup()
        self.assertEqual(self.answers, [("192.0.2.1",)] * 2)
        self.assertEqual(len(self.resolver.asked), 1)
        self.resolver.answer("192.0.2.2")
        self.lookup()
        self.assertEqual(self.answers[2:], [("192.0.2.2",)])

    def test_unused(self) -> None:
        """A name that nobody looks up is not resolved either."""
        self.resolved("192.0.2.1")
        self.reactor.advance(1000)
        self.assertEqual(self.resolver.asked, [])

    def test_doubt(self) -> None:
        """After a failed connection it is asked at once; the last answer serves meanwhile."""
        self.resolved("192.0.2.1")
        self.names.doubt()
        self.names.doubt()
        self.assertEqual(len(self.resolver.asked), 1)
        self.lookup()
        self.assertEqual(self.answers, [("192.0.2.1",)])

    def test_last_good_answer_is_kept(self) -> None:
        """An empty answer does not take a good one away, and is not repeated before its time."""
        self.resolved("192.0.2.1")
        self.names.doubt()
        self.resolver.answer()
        self.lookup()
        self.assertEqual((self.answers, self.resolver.asked), ([("192.0.2.1",)], []))

    def test_empty(self) -> None:
        """A name without addresses is an empty answer, and asked for again the next time."""
        self.lookup()
        self.resolver.answer()
        self.assertEqual(self.answers, [()])
        self.lookup()
        self.assertEqual((len(self.answers), len(self.resolver.asked)), (1, 1))

    def test_forget(self) -> None:
        """Who waits no more is not called; to forget another is harmless."""
        self.lookup()
        answer = self.answers.append
        self.names.forget(print)
        self.names.forget(answer)
        self.resolver.answer("192.0.2.1")
        self.assertEqual(self.answers, [])

    def test_bound(self) -> None:
        """Of a long answer only so many addresses are used, each once."""
        addresses = [f"192.0.2.{number}" for number in range(100)]
        self.lookup()
        self.resolver.answer(*addresses[:2], *addresses)
        self.assertEqual(self.answers, [tuple(addresses[:MAX_ADDRESSES])])
