"""The admin connection: its framing, its limits, and who may speak."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import skipIf

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from revproxy.control.admin.protocol import (
    COMMAND_BYTES,
    COMMAND_SECS,
    MOST_COMMANDS,
    MOST_CONNECTIONS,
    REPLY_SECS,
)
from tests.support.admin import STRANGER, AdminSide, Credentials

LONGEST = b"x" * (COMMAND_BYTES - 1)
"""The longest command that fits, with its line end."""

LINES = st.lists(st.binary(max_size=6) | st.sampled_from([b"\n", b" ", b"\r", b"a", b"\xc3\xa4"]))


class AdminCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.side = AdminSide()


class FramingTests(AdminCase):
    def test_one_command(self) -> None:
        """A line is a command; its reply is one line of JSON, after which the connection ends."""
        connection = self.side.connection()
        connection.says(b"status\n")
        self.assertEqual(self.side.asked, [("status", os.geteuid())])
        self.assertEqual(connection.heard, b'{"status":"ok"}\n')
        self.assertTrue(connection.transport.disconnecting)

    def test_split_anywhere(self) -> None:
        """A command is the same wherever its bytes are parted."""
        line = "stätus x\r\n".encode()
        for index in range(len(line) + 1):
            connection = self.side.connection()
            connection.says(line[:index], line[index:])
            self.assertEqual(connection.reply, {"status": "ok"})
            self.assertEqual(self.side.asked.pop()[0], "stätus x")
            connection.vanishes()

    def test_byte_by_byte(self) -> None:
        """A command may come a byte at a time."""
        connection = self.side.connection()
        connection.says(*(bytes([byte]) for byte in b"reload --diff\n"))
        self.assertEqual(self.side.commands, ["reload --diff"])

    def test_white_space(self) -> None:
        """White space around a command is not part of it."""
        self.side.connection().says(b"\t status \r\n")
        self.assertEqual(self.side.commands, ["status"])

    def test_two_lines(self) -> None:
        """Only the first line is carried out, whether more comes with it or later."""
        connection = self.side.connection()
        connection.says(b"one\ntwo\n", b"three\n")
        connection.ends()
        self.assertEqual(self.side.commands, ["one"])
        self.assertEqual(connection.reply, {"status": "ok"})

    def test_end_instead_of_a_line_end(self) -> None:
        """A command ends with what its sender has to say, too."""
        connection = self.side.connection()
        connection.says(b"sta", b"tus")
        self.assertEqual(connection.heard, b"")
        connection.ends()
        self.assertEqual(self.side.commands, ["status"])
        self.assertEqual(connection.reply, {"status": "ok"})

    def test_empty(self) -> None:
        """An empty command is invalid, and so is none at all."""
        for sent in (b"\n", b" \t\r\n", b"\nstatus\n", b""):
            connection = self.side.connection()
            connection.says(sent)
            connection.ends()
            self.assertEqual(connection.message, "invalid input")
            connection.vanishes()
        self.assertEqual(self.side.asked, [])

    def test_not_utf_8(self) -> None:
        """What is not UTF-8 is invalid."""
        for sent in (b"\xff\n", b"status\xc3\n", b"\xed\xa0\x80\n"):
            connection = self.side.connection()
            connection.says(sent)
            self.assertEqual(connection.message, "invalid input")
            connection.vanishes()
        self.assertEqual(self.side.asked, [])

    def test_longest(self) -> None:
        """A command with its line end has 4 KiB at the most, whatever comes after it."""
        connection = self.side.connection()
        connection.says(LONGEST + b"\n" + b"y" * COMMAND_BYTES)
        self.assertEqual(self.side.commands, [LONGEST.decode()])
        self.assertEqual(connection.reply, {"status": "ok"})

    def test_too_long(self) -> None:
        """A longer one is invalid at once, without its end, and the rest is not read."""
        for pieces in ((LONGEST + b"x\n",), (LONGEST + b"x",), (LONGEST, b"x", b"\n", b"more\n")):
            connection = self.side.connection()
            connection.says(*pieces)
            self.assertEqual(connection.message, "invalid input")
            connection.ends()
            connection.vanishes()
        self.assertEqual(self.side.asked, [])

    def test_longest_without_a_line_end(self) -> None:
        """A command that ends otherwise may not be longer."""
        connection = self.side.connection()
        connection.says(LONGEST)
        connection.ends()
        self.assertEqual(self.side.commands, [LONGEST.decode()])

    def test_text(self) -> None:
        """A reply is ASCII in one line, whatever it says."""
        self.side.answer = {"status": "ok", "path": "/\u00e4\n\x1b\u2028\ud800"}
        connection = self.side.connection()
        connection.says(b"connections\n")
        self.assertTrue(connection.heard.isascii())
        self.assertNotIn(b"\x1b", connection.heard)
        self.assertEqual(connection.reply, self.side.answer)

    @settings(max_examples=300, deadline=None)
    @given(LINES, st.integers(0, 40))
    @example([b"x" * COMMAND_BYTES], 0)
    @example([b"\n"], 0)
    def test_any_bytes(self, pieces: list[bytes], cut: int) -> None:
        """Any bytes in any pieces get one reply, and only the first line counts."""
        side = AdminSide()
        connection = side.connection()
        connection.says(*pieces[:cut])
        connection.says(b"".join(pieces[cut:]))
        connection.ends()
        line = b"".join(pieces).partition(b"\n")[0]
        try:
            command = line.decode("utf-8").strip()
        except UnicodeDecodeError:
            command = ""
        if len(line) < COMMAND_BYTES and command:
            self.assertEqual(side.commands, [command])
            self.assertEqual(connection.reply, {"status": "ok"})
        else:
            self.assertEqual(side.commands, [])
            self.assertEqual(connection.message, "invalid input")


class TimeTests(AdminCase):
    def test_no_command(self) -> None:
        """A connection without a command is told so after five seconds, and closed."""
        connection = self.side.connection()
        self.side.clock.advance(COMMAND_SECS - 0.1)
        self.assertEqual(connection.heard, b"")
        self.side.clock.advance(0.1)
        self.assertEqual(connection.message, "invalid input")
        connection.says(b"status\n")
        self.assertEqual(self.side.asked, [])

    def test_trickle(self) -> None:
        """Bytes that trickle in gain no time."""
        connection = self.side.connection()
        for _ in range(int(COMMAND_SECS)):
            connection.says(b"x")
            self.side.clock.advance(1)
        self.assertEqual(connection.message, "invalid input")

    def test_reply_that_nobody_takes(self) -> None:
        """A reply that is not taken within five seconds is given up with its connection."""
        connection = self.side.connection()
        connection.says(b"status\n")
        self.side.clock.advance(COMMAND_SECS - 0.1)
        self.assertFalse(connection.transport.disconnected)
        self.side.clock.advance(0.1)
        self.assertTrue(connection.transport.disconnected)

    def test_verdict_that_nobody_takes(self) -> None:
        """The same holds for a connection that has been told that its time is up."""
        connection = self.side.connection()
        self.side.clock.pump([COMMAND_SECS, COMMAND_SECS])
        self.assertTrue(connection.transport.disconnected)

    def test_long_command(self) -> None:
        """A command may take much longer than it takes to give it."""
        self.side.answer = waiting = Deferred()
        connection = self.side.connection()
        connection.says(b"reload\n")
        self.side.clock.pump([COMMAND_SECS] * int(REPLY_SECS / COMMAND_SECS - 1))
        self.assertEqual(connection.heard, b"")
        self.assertFalse(connection.transport.disconnecting)
        waiting.callback({"status": "ok", "late": True})
        self.assertEqual(connection.reply, {"status": "ok", "late": True})

    def test_endless_command(self) -> None:
        """Whoever waits for a command that does not end is told so."""
        self.side.answer = waiting = Deferred()
        connection = self.side.connection()
        connection.says(b"reload\n")
        self.side.clock.advance(REPLY_SECS)
        self.assertEqual(connection.message, "no outcome within 60 s; the command goes on")
        before = connection.heard
        waiting.callback({"status": "ok"})
        self.assertEqual(connection.heard, before)

    def test_nothing_is_left(self) -> None:
        """The time limit ends with the connection, wherever that is."""
        for pieces in ((), (b"sta",), (b"status\n",), (b"\n",)):
            connection = self.side.connection()
            connection.says(*pieces)
            connection.vanishes()
            self.assertEqual(self.side.clock.getDelayedCalls(), [])


class NumberTests(AdminCase):
    def test_contract(self) -> None:
        """At most ten connections, 4 KiB and five seconds for a command."""
        self.assertEqual((MOST_CONNECTIONS, COMMAND_BYTES, COMMAND_SECS), (10, 4096, 5))

    def test_too_many(self) -> None:
        """Ten connections may say something at once; a further one is refused until one has."""
        connections = [self.side.connection() for _ in range(MOST_CONNECTIONS)]
        self.assertIsNone(self.side.port.buildProtocol(None))
        connections[3].vanishes()
        connections.append(self.side.connection())
        self.assertIsNone(self.side.port.buildProtocol(None))
        connections[4].says(b"status\n")
        self.assertIsNotNone(self.side.port.buildProtocol(None))

    def test_commands_under_way(self) -> None:
        """Whoever waits for a command keeps nobody from asking; ten may wait at once."""
        self.side.answer = Deferred()
        waiting = [self.side.connection() for _ in range(MOST_COMMANDS)]
        for connection in waiting:
            connection.says(b"reload\n")
            connection.ends()
        self.assertEqual((self.side.port.open, self.side.port.working), (0, MOST_COMMANDS))
        further = self.side.connection()
        further.says(b"status\n")
        self.assertEqual(further.message, "busy: too many commands are under way")
        for connection in (*waiting, further):
            connection.vanishes()
        self.assertEqual((self.side.port.open, self.side.port.working), (0, 0))


class CommandTests(AdminCase):
    def test_failure(self) -> None:
        """A command that raises is an internal error, whose reason is for the log alone."""
        self.side.answer = KeyError("secret")
        connection = self.side.connection()
        connection.says(b"status\n")
        self.assertEqual(connection.message, "internal error")
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_late_failure(self) -> None:
        """The same holds for one that fails after a while."""
        self.side.answer = waiting = Deferred()
        connection = self.side.connection()
        connection.says(b"status\n")
        waiting.errback(ValueError("secret"))
        self.assertEqual(connection.message, "internal error")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_reply_that_is_no_json(self) -> None:
        """A reply that JSON has no form for is an internal error too."""
        for value, kind in ((object(), TypeError), (float("inf"), ValueError)):
            self.side.answer = {"status": "ok", "value": value}
            connection = self.side.connection()
            connection.says(b"status\n")
            self.assertEqual(connection.message, "internal error")
            self.assertEqual(len(self.flushLoggedErrors(kind)), 1)

    def test_half_closed_meanwhile(self) -> None:
        """Whoever has no more to say while the command is carried out still gets the reply."""
        self.side.answer = waiting = Deferred()
        connection = self.side.connection()
        connection.says(b"reload\n")
        connection.ends()
        waiting.callback({"status": "ok"})
        self.assertEqual(connection.reply, {"status": "ok"})
        self.assertEqual(self.side.commands, ["reload"])

    def test_gone_meanwhile(self) -> None:
        """A command is carried out to its end for somebody who is gone, and leaves nothing."""
        self.side.answer = waiting = Deferred()
        connection = self.side.connection()
        connection.says(b"reload\n")
        connection.vanishes()
        self.assertEqual(self.side.port.open, 0)
        waiting.callback({"status": "ok"})
        self.assertEqual(connection.heard, b"")
        self.assertEqual(self.side.clock.getDelayedCalls(), [])


class PeerTests(AdminCase):
    def may_speak(self, peer: object) -> bool:
        """Whether a command of ``peer`` is carried out."""
        self.side.asked.clear()
        connection = self.side.connection(peer)
        connection.says(b"status\n")
        if not self.side.asked:
            self.assertEqual(connection.message, "not permitted")
        connection.vanishes()
        return bool(self.side.asked)

    def test_users(self) -> None:
        """Root and our own user may speak, others not; the command is told who has."""
        self.patch(os, "geteuid", lambda: 1234)
        for user, expected in ((0, True), (1234, True), (1235, False), (STRANGER, False)):
            self.assertEqual(self.may_speak(Credentials(user, STRANGER)), expected)
            self.assertEqual(self.side.asked, [("status", user)] * expected)

    def test_groups(self) -> None:
        """A member of the socket's group may speak, whichever of its groups that is."""
        group = self.side.port.group
        self.assertTrue(self.may_speak(Credentials(STRANGER, group)))
        self.assertTrue(self.may_speak(Credentials(STRANGER, STRANGER, (1, 2, group, 3))))
        self.assertFalse(self.may_speak(Credentials(STRANGER, STRANGER, (1, 2, 3))))

    def test_untold_groups(self) -> None:
        """Where the kernel does not tell all groups, or they are too many, one counts."""
        group = self.side.port.group
        for more in (None, (group,) * 257):
            self.assertTrue(self.may_speak(Credentials(STRANGER, group, more)))
            self.assertFalse(self.may_speak(Credentials(STRANGER, STRANGER, more)))

    def test_most_groups(self) -> None:
        """As many groups are looked at as a process will ever be in."""
        group = self.side.port.group
        self.assertTrue(self.may_speak(Credentials(STRANGER, STRANGER, (*range(255), group))))

    def test_nothing_is_told(self) -> None:
        """Whoever may not speak is not told whether the command was one."""
        for sent in (b"\n", b"\xff\n", b"nonsense\n"):
            connection = self.side.connection(Credentials(STRANGER, STRANGER))
            connection.says(sent)
            self.assertEqual(connection.message, "not permitted")

    def test_own_group(self) -> None:
        """Until the port knows its socket, its group is our own."""
        port = type(self.side.port)(self.side.port.answer, self.side.clock)
        self.assertEqual(port.group, os.getegid())


class KernelTests(AdminCase):
    """The credentials as the kernel tells them; other users than our own only for root."""

    def peer(self) -> socket.socket:
        """One end of a connection that is made now."""
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        return ours

    def speaks(self, peer: socket.socket) -> dict[str, str]:
        connection = self.side.connection(peer)
        connection.says(b"status\n")
        reply: dict[str, str] = json.loads(connection.heard)
        return reply

    @contextmanager
    def stranger(self, *groups: int) -> Iterator[None]:
        """Be somebody else, in ``groups``."""
        kept = os.getgroups(), os.getegid(), os.geteuid()
        os.setgroups(groups)
        os.setegid(STRANGER)
        os.seteuid(STRANGER)
        try:
            yield
        finally:
            os.seteuid(kept[2])
            os.setegid(kept[1])
            os.setgroups(kept[0])

    def test_ourselves(self) -> None:
        """Our own user may speak."""
        self.assertEqual(self.speaks(self.peer()), {"status": "ok"})
        self.assertEqual(self.side.asked, [("status", os.geteuid())])

    @skipIf(os.geteuid() != 0, "only root can be somebody else")
    def test_stranger(self) -> None:
        """Another user may not, and may when it is in the group."""
        with self.stranger(7, 8):
            outside = self.peer()
        with self.stranger(7, self.side.port.group, 8):
            inside = self.peer()
        self.assertEqual(self.speaks(outside)["message"], "not permitted")
        self.assertEqual(self.speaks(inside), {"status": "ok"})
        self.assertEqual(self.side.asked, [("status", STRANGER)])
