"""The rules between tables: what must be unique, must exist, or does not go together.

Owns those rules. Refuses to judge a single value, and stays silent about whatever could not be
read: that has been reported where it stands.
"""

from __future__ import annotations

from ipaddress import ip_address

from attrs import frozen

from revproxy.settings.acme import check_challenge, check_mode
from revproxy.settings.document import Node
from revproxy.settings.passthrough import check_http_upstreams, check_passed_hosts, passes_on
from revproxy.settings.section import Reading
from revproxy.settings.suggest import did_you_mean

HEALTH_ADDRESS = "127.0.0.1"
WILDCARDS = ("0.0.0.0", "::")


@frozen
class Whole:
    """Everything that was read, of all files.

    Attributes:
        main: the main file's top.
        listeners: of every file, as far as they were readable.
        sites: every site likewise, those of listeners first.
        streams: of the main file likewise.
        complete: no file was unreadable, and no array of listeners, sites or streams.
        wildcard_bind: the command line allows what ``allow_wildcard_bind`` does.
    """

    main: Reading
    listeners: tuple[Reading, ...]
    sites: tuple[Reading, ...]
    streams: tuple[Reading, ...]
    complete: bool
    wildcard_bind: bool


def check(whole: Whole) -> None:
    """Report everything that breaks a rule."""
    _check_presence(whole)
    _check_wildcards(whole)
    _check_ports(whole)
    _check_hosts(whole)
    _check_default_site(whole)
    _check_site_listeners(whole)
    check_passed_hosts(whole.listeners, whole.sites)
    for site in whole.sites:
        _check_scheme(site)
    for listener in whole.listeners:
        _check_certificates(listener.get("tls"))
        check_challenge(listener)
        check_http_upstreams(listener)


def _check_presence(whole: Whole) -> None:
    if not whole.complete:
        return
    if not whole.listeners:
        whole.main.report("listeners", "at least one [[listeners]] is required")
    elif not whole.sites and not whole.streams and not any(map(passes_on, whole.listeners)):
        whole.main.report("listeners", "no site at all: at least one has [[listeners.sites]]")


def _check_wildcards(whole: Whole) -> None:
    if whole.wildcard_bind or whole.main.get("allow_wildcard_bind") is not False:
        return
    for bound in (*whole.listeners, *whole.streams):
        if bound.get("bind_addr") in WILDCARDS:
            bound.report(
                "bind_addr",
                f"{bound.get('bind_addr')} binds every address: name one, or allow it with "
                "allow_wildcard_bind = true or --allow-wildcard-bind",
            )


def _check_ports(whole: Whole) -> None:
    """No two listening sockets, the health check's among them, want the same port."""
    taken: dict[int, list[tuple[str, str]]] = {}
    if health := whole.main.get("health_check_port"):
        taken[health] = [(HEALTH_ADDRESS, "health_check_port")]
    sockets = [(listener, key) for listener in whole.listeners for key in _own_ports(listener)]
    sockets += [(stream, "port") for stream in whole.streams]
    for bound, key in sockets:
        address, port = bound.get("bind_addr"), bound.get(key)
        if not port or address is None:
            continue
        owners = taken.setdefault(port, [])
        owner = next((place for other, place in owners if _overlap(address, other)), None)
        if owner:
            bound.report(key, f"port {port} on {address} is taken by {owner}")
        owners.append((address, bound.node.full_place(key)))


def _own_ports(listener: Reading) -> tuple[str, ...]:
    """The keys of a listener's ports, once they are known to differ from each other."""
    port = listener.get("http_port")
    if port is None or port != listener.get("https_port"):
        return ("http_port", "https_port")
    listener.report("https_port", "must differ from http_port")
    return ("http_port",)


def _check_hosts(whole: Whole) -> None:
    first: dict[str, Node] = {}
    for site in whole.sites:
        host = site.get("host")
        if host in first:
            site.report("host", f'"{host}" is served already, by {first[host].full_place()}')
        elif host is not None:
            first[host] = site.node


def _check_default_site(whole: Whole) -> None:
    default = whole.main.get("default_site")
    hosts = [site.get("host") for site in whole.sites]
    if default is None or not whole.complete or None in hosts or default in hosts:
        return
    hint = did_you_mean(default, hosts)
    whole.main.report("default_site", f'no site has the host "{default}"{hint}')


def _check_site_listeners(whole: Whole) -> None:
    """Sites of included files name listeners that exist."""
    bound = [listener.get("bind_addr") for listener in whole.listeners]
    if not whole.complete or None in bound:
        return
    for site in whole.sites:
        for index, address in enumerate(site.get("listeners") or ()):
            if address not in bound:
                named = site.node.child("listeners").item(index)
                named.report(f"no listener has the bind_addr {address}")


def _check_scheme(site: Reading) -> None:
    upstream = site.get("upstream")
    if upstream is not None and upstream.path and site.get("upstream_scheme") == "https":
        site.report("upstream_scheme", "a UNIX socket has no name to verify: only http goes there")


def _check_certificates(tls: Reading | None) -> None:
    """In manual mode a listener has at least one pair, and no half of one."""
    if tls is not None:
        check_mode(tls)
    if tls is None or tls.get("mode") != "manual":
        return
    given = tls.node.value
    for key, other in (("cert_path", "key_path"), ("key_path", "cert_path")):
        if other in given and key not in given:
            tls.report(key, f"required, but missing: {other} is given")
    if "cert_path" not in given and "key_path" not in given and tls.get("certificates") == ():
        tls.report("cert_path", 'required, but missing: mode = "manual" needs a certificate')


def _overlap(one: str, other: str) -> bool:
    """Whether the same port cannot be bound on both addresses."""
    if one == other:
        return True
    if HEALTH_ADDRESS in (one, other) and "::" in (one, other):
        return True  # an IPv6 wildcard socket may take IPv4 as well
    same_version = ip_address(one).version == ip_address(other).version
    return same_version and (one in WILDCARDS or other in WILDCARDS)
