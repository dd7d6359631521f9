"""Readers of names and addresses: hosts, bind addresses, networks, upstreams.

Owns their syntax and normal forms, so that two spellings of one thing are equal in the model.
Refuses to know which of them must exist or be unique (``checks.py``).
"""

from __future__ import annotations

import re
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from revproxy.model.address import UpstreamAddress
from revproxy.model.configuration import IPNetwork
from revproxy.settings.document import Node
from revproxy.settings.fields import text
from revproxy.settings.section import accepting
from revproxy.settings.suggest import shown
from revproxy.settings.unavailable import not_yet

LONGEST_HOST = 253
"""Characters of a host name (RFC 1035 2.3.4, without the final dot)."""

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_PROTOCOL = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+(/[!#$%&'*+.^_`|~0-9a-z-]+)?")
_UNSEEN = ("h2", "h3", "http", "tls")
_HOST = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_OBJECT = re.compile(r"app:[^:]*:[^:]*")


@accepting("host name, or `*.` and one")
def host(node: Node) -> str:
    """A site's host name (RFC 1123 2.1), or ``*.`` and one, in lower case, no trailing dot.

    Raises:
        ValueError: it is anything else; for an internationalised name the message gives the
            A-label form (RFC 5890 2.3.2.1) that clients send.
    """
    given = text(node)
    name = given.lower().removesuffix(".")
    base = name.removeprefix("*.")
    if not given.isascii():
        raise ValueError(f"must be in its A-label form{_as_a_labels(given)}")
    if "*" in base:
        raise ValueError('a star stands for the whole left-most label: "*.example.com"')
    if _is_address(base):
        raise ValueError(f"must be a host name, and {shown(given)} is an IP address")
    if ":" in base or "/" in base:
        raise ValueError("must be a host name alone, without scheme, port or path")
    if len(base) > LONGEST_HOST or not _HOST.fullmatch(base):
        raise ValueError(f"{shown(given)} is not a valid host name")
    if base.rpartition(".")[2].isdigit():
        raise ValueError(f"{shown(given)} ends in a number, as only an IP address does")
    return name


@accepting("protocol name")
def protocol(node: Node) -> str:
    """What a connection may become, in lower case (RFC 9110 7.8); never another kind of HTTP or
    TLS, in which requests would pass unseen.

    Raises:
        ValueError: it is anything else.
    """
    value = text(node).lower()
    if not _PROTOCOL.fullmatch(value) or value.startswith(_UNSEEN):
        raise ValueError(f'{shown(value)} cannot be upgraded to; usual is "websocket"')
    return value


@accepting("IPv4 or IPv6 address")
def bind_address(node: Node) -> str:
    """An IPv4 or IPv6 address in canonical form.

    Raises:
        ValueError: it is none, or an IPv6 spelling of an IPv4 address, or has a zone.
    """
    given = text(node)
    try:
        address = ip_address(given)
    except ValueError:
        raise ValueError(
            f"must be an IPv4 or IPv6 address without brackets or port, not {shown(given)}"
        ) from None
    if "%" in given:
        raise ValueError("an address with a zone cannot be bound")
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        raise ValueError(f'must be written as IPv4: "{address.ipv4_mapped}"')
    return str(address)


@accepting("network or address")
def network(node: Node) -> IPNetwork:
    """A network such as ``10.0.0.0/8``, or a single address.

    Raises:
        ValueError: it is none, an IPv6 spelling of an IPv4 one, or bits are set right of its
            prefix.
    """
    given = text(node)
    try:
        found = None if "%" in given else ip_network(given, strict=False)
    except ValueError:
        found = None
    if found is None:
        raise ValueError(f'must be a network such as "10.0.0.0/8", not {shown(given)}')
    if isinstance(found, IPv6Network) and found.network_address.ipv4_mapped is not None:
        raise ValueError("must be written as an IPv4 network")
    if ip_address(given.partition("/")[0]) != found.network_address:
        raise ValueError(f'{shown(given)} has host bits set, did you mean "{found}"?')
    return found


@accepting('`"host:port"`, `"[v6]:port"` or `"unix:/path"`')
def upstream(node: Node) -> UpstreamAddress:
    """``host:port``, ``[v6]:port`` or ``unix:/path``.

    Raises:
        ValueError: it is none of them.
    """
    given = text(node)
    if _OBJECT.fullmatch(given):
        raise ValueError(f"an application as upstream is {not_yet('upstreams')}")
    return UpstreamAddress.parse(given)


def _as_a_labels(name: str) -> str:
    """The form to write instead, unless the standard library's codec would change the name."""
    if len(name) > LONGEST_HOST:
        return ""
    try:
        encoded = name.lower().removesuffix(".").encode("idna")
        same = encoded.decode("idna") == name.lower().removesuffix(".")
    except UnicodeError:
        return ""
    return f': "{encoded.decode("ascii")}"' if same else ""


def _is_address(name: str) -> bool:
    bare = name.removeprefix("[").removesuffix("]")
    if ":" not in bare and not bare[-1:].isdigit():
        return False  # without the cost of an exception, as most names
    try:
        IPv6Address(bare) if ":" in bare else IPv4Address(bare)
    except AddressValueError:
        return False
    return True
