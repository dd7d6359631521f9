"""PROXY headers as bytes, written from the specification alone.

Owns what a sender writes, to be sent and to be compared with. Refuses to share a line with the
proxy's own writer, which is under test.
"""

from __future__ import annotations

import socket

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")


def header_v1(source: str, source_port: int, to: str, to_port: int) -> bytes:
    """Version 1: a line of text."""
    kind = "TCP6" if ":" in source else "TCP4"
    return f"PROXY {kind} {source} {to} {source_port} {to_port}\r\n".encode()


def header_v2(source: str, source_port: int, to: str, to_port: int, more: bytes = b"") -> bytes:
    """Version 2: bytes; ``more`` is what follows the addresses."""
    family, code = (socket.AF_INET6, 0x21) if ":" in source else (socket.AF_INET, 0x11)
    block = socket.inet_pton(family, source) + socket.inet_pton(family, to)
    block += source_port.to_bytes(2, "big") + to_port.to_bytes(2, "big") + more
    return SIGNATURE + bytes((0x21, code)) + len(block).to_bytes(2, "big") + block


def name_vector(name: str) -> bytes:
    """The vector of version 2 that tells which host name the client has asked for."""
    return b"\x02" + len(name).to_bytes(2, "big") + name.encode()


HEADERS = (header_v1, header_v2)
"""Both versions."""
