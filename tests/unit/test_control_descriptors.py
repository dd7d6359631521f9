"""How many files and sockets there may be, and what that leaves for connections."""

from __future__ import annotations

import resource

from twisted.trial.unittest import SynchronousTestCase

from revproxy.control.descriptors import (
    FEWEST,
    MOST_DERIVED,
    RESERVED,
    SPARE,
    connections_allowed,
    raise_descriptor_limit,
)
from revproxy.errors import ConfigErrors
from revproxy.model.configuration import Limits


class LimitTests(SynchronousTestCase):
    def setUp(self) -> None:
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        self.hard = before[1]

    def test_raised(self) -> None:
        """The soft limit becomes the hard one, which stays."""
        resource.setrlimit(resource.RLIMIT_NOFILE, (self.hard - 1, self.hard))
        self.assertEqual(raise_descriptor_limit(), self.hard)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.assertEqual(limits, (self.hard, self.hard))

    def test_raised_already(self) -> None:
        """Once it is there, it stays there."""
        self.assertEqual(raise_descriptor_limit(), raise_descriptor_limit())

    def test_refused(self) -> None:
        """Where the kernel refuses, the limit is what it is: there may be a lower one for all."""
        resource.setrlimit(resource.RLIMIT_NOFILE, (self.hard - 1, self.hard))
        for refusal in (
            ValueError("not allowed to raise maximum limit"),
            OSError(1, "Operation not permitted"),
        ):

            def refuse(*_: object, refusal: Exception = refusal) -> None:
                raise refusal

            patch = self.patch(resource, "setrlimit", refuse)
            self.assertEqual(raise_descriptor_limit(), self.hard - 1)
            patch.restore()


class ConnectionTests(SynchronousTestCase):
    def test_by_default(self) -> None:
        """Half of the descriptors, less what is reserved: each may need an upstream's too."""
        self.assertEqual(connections_allowed(Limits(), 1024), 512 - RESERVED)
        self.assertEqual(connections_allowed(Limits(), 65537), 32768 - RESERVED)

    def test_so_many_that_memory_ends_before(self) -> None:
        """Of very many there are not so many connections, unless they are configured."""
        self.assertEqual(connections_allowed(Limits(), 2**30), MOST_DERIVED)
        self.assertEqual(connections_allowed(Limits(max_connections=2**21), 2**30), 2**21)

    def test_too_few(self) -> None:
        """With too few of them there is no serving, whatever is configured."""
        self.assertEqual(connections_allowed(Limits(), FEWEST), 8)
        for limits in (Limits(), Limits(max_connections=1)):
            for descriptors in (0, 40, FEWEST - 1):
                with self.assertRaises(ConfigErrors) as caught:
                    connections_allowed(limits, descriptors)
                self.assertIn(f"{FEWEST} files and connections, the few", str(caught.exception))

    def test_log_files(self) -> None:
        """Log files of sites take theirs."""
        self.assertEqual(connections_allowed(Limits(), 1024, 24), 500 - RESERVED)
        limits = Limits(max_connections=100)
        self.assertEqual(connections_allowed(limits, 100 + RESERVED + 10, 10), 100)
        for descriptors in (100 + RESERVED + 9, FEWEST + 9):
            with self.assertRaises(ConfigErrors):
                connections_allowed(limits, descriptors, 10)

    def test_configured(self) -> None:
        """What is configured counts, up to what there can be."""
        limits = Limits(max_connections=100)
        self.assertEqual(connections_allowed(limits, 100 + RESERVED), 100)
        self.assertEqual(connections_allowed(limits, 100_000), 100)

    def test_too_many(self) -> None:
        """More than there can be is a mistake in the file, which says what would help."""
        limits = Limits(max_connections=100)
        with self.assertRaises(ConfigErrors) as caught:
            connections_allowed(limits, 99 + RESERVED)
        (error,) = caught.exception.errors
        self.assertEqual(error.path, "limits.max_connections")
        self.assertEqual(
            error.message,
            f"100 connections and {RESERVED} further files are more than this process may have "
            f"open ({99 + RESERVED}: raise LimitNOFILE or ulimit -n)",
        )

    def test_spare(self) -> None:
        """The last ones, which no connection gets, are among those reserved."""
        self.assertEqual((RESERVED, SPARE), (64, 48))
