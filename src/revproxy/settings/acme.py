"""Automatic certificates in a file: the values of ``acme_*`` keys, and the rules between them.

Owns their syntax, and which of them go with which ``mode``. Refuses to know the protocol.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from revproxy.settings.document import Node
from revproxy.settings.fields import filled, one_of
from revproxy.settings.names import host
from revproxy.settings.section import Reading, accepting
from revproxy.settings.suggest import shown

MOST_NAMES = 100
"""Of one certificate: what authorities issue at most."""

_NAMED_DIRECTORY = one_of("production", "staging")
_MAIL = re.compile(r"mailto:[^@\s?,]+@[^@\s?,]+")


@accepting("host name")
def issued_host(node: Node) -> str:
    """A host name that an authority can be shown to lead here.

    Raises:
        ValueError: it is none, or a wildcard, or of one label, which no authority issues.
    """
    name = host(node)
    if name.startswith("*."):
        raise ValueError(
            f"{shown(name)} would take a challenge in the DNS, which is not available: name each "
            "host, or get a wildcard certificate elsewhere and list it in certificates"
        )
    if "." not in name:
        raise ValueError(f"{shown(name)} is no name of the public DNS: no authority issues for it")
    return name


@accepting("`production`, `staging` or an `https` URL")
def acme_directory(node: Node) -> str:
    """Let's Encrypt's by name, or the URL of a directory (RFC 8555 7.1.1).

    Raises:
        ValueError: it is neither.
    """
    given = filled(node)
    if "/" not in given and ":" not in given:
        return _NAMED_DIRECTORY(node)
    try:
        parts = urlsplit(given)
        valid = bool(parts.hostname) and not parts.username and parts.port != 0
    except ValueError:
        valid = False
    if not valid or parts.scheme != "https" or not given.isascii() or " " in given:
        raise ValueError(f"must be an https URL, not {shown(given)}")
    return given


@accepting('`"mailto:user@host"`')
def contact(node: Node) -> str:
    """One address, as a URL (RFC 8555 7.3, RFC 6068).

    Raises:
        ValueError: it is none.
    """
    given = filled(node)
    if not _MAIL.fullmatch(given) or not given.isascii():
        raise ValueError(f'must be "mailto:" and an address, not {shown(given)}')
    return given


def check_mode(tls: Reading) -> None:
    """Report what does not go with the mode, and what it lacks."""
    given = tls.node.value
    if tls.get("mode") == "manual":
        for key in given:
            if key.startswith("acme_") and key in tls.section.readers:
                tls.report(key, 'only with mode = "acme"')
    elif tls.get("mode") == "acme":
        for key in ("acme_domains", "acme_contact"):
            if key not in given:
                tls.report(key, 'required, but missing: mode = "acme" needs it')
        for key in ("cert_path", "key_path"):
            if key in given:
                tls.report(
                    key, 'only with mode = "manual"; other pairs are listed in certificates'
                )
        _check_names(tls)


def _check_names(tls: Reading) -> None:
    names = tls.get("acme_domains") or ()
    for index, name in enumerate(names):
        if name in names[:index]:
            tls.node.child("acme_domains").item(index).report(f'"{name}" is named twice')
    if len(names) > MOST_NAMES and tls.get("acme_one_certificate_per_name") is False:
        tls.report(
            "acme_domains",
            f"no certificate has more than {MOST_NAMES} names: set acme_one_certificate_per_name",
        )


def check_challenge(listener: Reading) -> None:
    """Report a challenge on a port that the listener does not have."""
    tls = listener.get("tls")
    if tls is None or tls.get("mode") != "acme" or listener.get("http_port") != 0:
        return
    if tls.get("acme_challenge") == "http-01":
        tls.report("acme_challenge", '"http-01" is answered on the http_port, which is off')
