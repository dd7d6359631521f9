"""Who the client is, and what the upstream is told about it.

Owns the edge model: the client is the socket's peer, unless the peer is a trusted proxy, whose
``X-Forwarded-For`` is then read from the right up to the first address that is not trusted
itself. Nothing else is ever believed. Refuses to know sockets and logs.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from revproxy.model.configuration import IPAddress, IPNetwork
from revproxy.policy.connection_limit import UNLIMITED
from revproxy.policy.rate_limit import address_key

REMEMBERED_PEERS = 4096
"""How many recent peers keep their parsed address."""


class Client:
    """The client of a connection, or of one exchange behind a trusted proxy.

    Attributes:
        address: for the log: ``203.0.113.50`` or ``2001:db8::1``.
        key: of its rate limit bucket.
        forwarding: the field lines that tell the upstream, CRLF after each.
        trusted: whether the peer is a trusted proxy, so that every exchange has to be looked
            at by itself.
    """

    __slots__ = ("address", "forwarding", "key", "trusted")

    def __init__(self, address: IPAddress, chain: bytes, scheme: bytes, *, trusted: bool) -> None:
        """``chain`` is the whole X-Forwarded-For, ``scheme`` https or http."""
        self.address = str(address)
        self.key = address_key(address.packed)
        self.trusted = trusted
        self.forwarding = b"X-Real-IP: %b\r\nX-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\n" % (
            self.address.encode(),
            chain,
            scheme,
        )


def normal_address(text: str) -> IPAddress:
    """An address without its zone, an IPv4-mapped one as IPv4 (RFC 4291 2.5.5.2).

    Raises:
        ValueError: it is no IP address.
    """
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def connection_key(peer: str, networks: tuple[IPNetwork, ...] = ()) -> int:
    """The key under which connections of a socket's peer are counted.

    Args:
        peer: the socket's peer address.
        networks: the trusted proxies, which stand for many clients and have no limit of their own.
    """
    address = _peer_address(peer)
    if networks and is_trusted(address, networks):
        return UNLIMITED
    return address_key(address.packed)


@lru_cache(REMEMBERED_PEERS)
def _peer_address(peer: str) -> IPAddress:
    try:
        return normal_address(peer)
    except ValueError:
        return IPv4Address(0)


def is_trusted(address: IPAddress, networks: tuple[IPNetwork, ...]) -> bool:
    """Whether ``address`` lies in one of ``networks``."""
    return any(address in network for network in networks)


def settle_peer(peer: str, scheme: bytes, networks: tuple[IPNetwork, ...]) -> Client:
    """The client of a connection as far as its peer alone tells.

    Args:
        peer: the socket's peer address; what is none (a UNIX socket's) counts as 0.0.0.0.
        scheme: ``b"https"`` or ``b"http"``.
        networks: the trusted proxies.
    """
    address = _peer_address(peer)
    trusted = bool(networks) and is_trusted(address, networks)
    return Client(address, str(address).encode(), scheme, trusted=trusted)


def settle_forwarded(
    peer: Client, forwarded_for: bytes, scheme: bytes, networks: tuple[IPNetwork, ...]
) -> Client:
    """The client of an exchange that a trusted proxy hands on.

    ``X-Forwarded-For`` is appended to, and ``X-Real-IP`` is the right-most address in it that is
    not trusted. Where the chain breaks off (an element that is no address, or no chain at all),
    the last address known to be true is taken.
    """
    address = normal_address(peer.address)
    for element in reversed(forwarded_for.split(b",")):
        try:
            address = normal_address(_bare(element.strip(b" \t").decode("ascii", "replace")))
        except ValueError:
            break
        if not is_trusted(address, networks):
            break
    chain = forwarded_for + b", " + peer.address.encode() if forwarded_for else b""
    return Client(address, chain or peer.address.encode(), scheme, trusted=True)


def _bare(element: str) -> str:
    """An address as some proxies write it: ``1.2.3.4:55``, ``[2001:db8::1]:55``."""
    if element.startswith("["):
        return element[1:].partition("]")[0]
    return element.partition(":")[0] if element.count(":") == 1 else element
