"""The far end of the admin socket: gives a command and waits for the reply.

Owns the way to the socket. Refuses to know what the commands do and how replies are shown.
Blocks; for a process of its own.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from time import monotonic
from typing import Any

Reply = Mapping[str, Any]

REPLY_SECS = 120.0
"""For the whole reply; a reload of ten thousand sites takes one or two."""

REPLY_BYTES = 64 * 2**20


class NoAnswerError(Exception):
    """Nobody answers; says where and why."""


def ask(path: str, command: str) -> Reply:
    """Give ``command`` to whoever listens at ``path``, and wait for the reply.

    Raises:
        NoAnswerError: there is none, or it is no JSON.
    """
    try:
        reply = json.loads(_asked(path, command))
    except BlockingIOError:  # the backlog is full
        raise NoAnswerError(f"{path}: too many commands at once") from None
    except (ConnectionResetError, BrokenPipeError, ValueError, RecursionError):
        raise NoAnswerError(f"{path}: no answer (too many commands at once?)") from None
    except PermissionError:
        reason = "permission denied; root, the proxy's own user and the socket's group may ask"
        raise NoAnswerError(f"{path}: {reason}") from None
    except OSError as error:
        raise NoAnswerError(f"{path}: {error.strerror or error} (is revproxy running?)") from None
    if not isinstance(reply, dict):
        raise NoAnswerError(f"{path}: an answer that is none")
    return reply


def _asked(path: str, command: str) -> bytes:
    """What comes back for ``command``.

    Raises:
        OSError: there is nobody, or nothing in time.
    """
    received = bytearray()
    deadline = monotonic() + REPLY_SECS
    with socket.socket(socket.AF_UNIX) as channel:
        channel.settimeout(REPLY_SECS)
        channel.connect(path)
        channel.sendall(command.encode() + b"\n")
        while len(received) < REPLY_BYTES and (chunk := channel.recv(65536)):
            received += chunk
            left = deadline - monotonic()
            if left <= 0:
                raise TimeoutError("timed out")
            channel.settimeout(left)
    return bytes(received)
