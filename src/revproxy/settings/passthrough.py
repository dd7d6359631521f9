"""What is passed on without being looked into: ``[[listeners.passthrough]]`` and ``[[streams]]``.

Owns their keys with the range of each, and the rules between passed hosts and everything else
that has a claim on a name. Refuses to know how bytes are passed on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from revproxy.model.address import UpstreamAddress
from revproxy.model.configuration import Passthrough, Stream
from revproxy.settings.document import Node
from revproxy.settings.fields import one_of, seconds, text, whole
from revproxy.settings.names import bind_address, host, upstream
from revproxy.settings.section import Reading, Section, accepting, list_of

send_proxy = one_of("off", "v1", "v2")
"""Which version of the PROXY header is sent."""


@accepting(upstream.accepts.words)
def backend(node: Node) -> UpstreamAddress:
    """``host:port``, ``[v6]:port`` or ``unix:/path``, of what is no site's upstream.

    Raises:
        ValueError: it is none of them.
    """
    if "://" in text(node):
        raise ValueError("give host:port without a scheme: bytes are passed on as they are")
    return UpstreamAddress.parse(text(node))


passthrough = Section(
    Passthrough,
    {
        "hosts": list_of(host, at_least=1),
        "upstream": backend,
        "http_upstream": backend,
        "send_proxy": send_proxy,
        "connect_timeout_secs": seconds(),
    },
)
"""``[[listeners.passthrough]]``."""

stream = Section(
    Stream,
    {
        "bind_addr": bind_address,
        "port": whole(1, 65535),
        "upstream": backend,
        "send_proxy": send_proxy,
    },
)
"""``[[streams]]``."""


def passes_on(listener: Reading) -> bool:
    """Whether a listener has anything to do without a site."""
    return listener.get("passthrough") != () or "default_passthrough" in listener.node.value


def check_passed_hosts(listeners: Iterable[Reading], sites: Iterable[Reading]) -> None:
    """Report passed hosts that a listener has twice, and those that something else claims.

    Two listeners may pass the same host on, each to a backend of its own: they are two addresses.
    Sites and certificates count whichever listener has them, for sites are found on all.
    """
    listeners = tuple(listeners)
    claims = dict(_certified(listeners))
    claims |= {
        site.get("host"): f"is a site, {site.node.full_place()}: TLS is either passed on or ended"
        for site in sites
    }
    for listener in listeners:
        first: dict[str, Node] = {}
        for name, node, table in _passed(listener):
            if name in first:
                place = first[name].full_place()
                node.report(f'"{name}" is passed on already, by {place}')
            elif name in claims:
                node.report(f'"{name}" {claims[name]}')
            first.setdefault(name, table)


def _certified(listeners: Iterable[Reading]) -> Iterator[tuple[str, str]]:
    """The names that certificates are got for, and why they are not passed on."""
    for listener in listeners:
        tls = listener.get("tls")
        for name in (tls and tls.get("acme_domains")) or ():
            place = tls.node.full_place("acme_domains")
            yield name, f"is in {place}: the backend that it is passed on to has the certificate"


def _passed(listener: Reading) -> Iterator[tuple[str, Node, Node]]:
    """Every passed host, where it stands, and in which table."""
    for table in listener.get("passthrough") or ():
        for index, name in enumerate(table.get("hosts") or ()):
            yield name, table.node.child("hosts").item(index), table.node


def check_http_upstreams(listener: Reading) -> None:
    """Report backends of a plain port that the listener does not have."""
    if listener.get("http_port") != 0:
        return
    for table in listener.get("passthrough") or ():
        if table.get("http_upstream") is not None:
            table.report("http_upstream", "nothing goes there: the http_port is off")
