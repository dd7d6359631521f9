"""Replies of the admin socket for people.

Owns how each looks. Refuses to know how it came. What clients chose (paths, names) is shown
without anything that a terminal would act on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Reply = Mapping[str, Any]


def shown(command: str, reply: Reply) -> str:
    """The text for the reply to ``command``, without a line end at its end.

    One that lacks something, as a proxy of another version may give, is shown as it is.
    """
    try:
        return "\n".join([harmless(str(line)) for line in _lines(command, reply)])
    except (AttributeError, KeyError, TypeError):
        return json.dumps(reply)


def harmless(text: str) -> str:
    """``text`` in printable ASCII, everything else escaped."""
    return "".join(c if " " <= c <= "~" else c.encode("unicode_escape").decode() for c in text)


def _lines(command: str, reply: Reply) -> Iterable[str]:
    if reply.get("status") == "ok":
        return _SHOWN["certs renew" if command.startswith("certs renew ") else command](reply)
    mistakes = [(mistake["path"], mistake["message"]) for mistake in reply.get("errors") or ()]
    lines = [f"{path}: {message}" if path else message for path, message in mistakes]
    if lines and "generation" in reply:
        lines.insert(0, f"refused; generation {reply['generation']} goes on being served:")
    return lines or [str(reply["message"])]


def _outcome(reply: Reply) -> Iterable[str]:
    where = f"{_count(reply['sites'], 'site')}, generation {reply['generation']}"
    unchanged = "nothing applies" if reply["restart_required"] else "nothing has changed"
    yield f"{'reloaded' if reply['changed'] else unchanged}: {where}"
    yield from _remarks(reply)


def _preview(reply: Reply) -> Iterable[str]:
    yield from reply["changes"] or ["nothing would change"]
    if not reply["changed"] and reply["restart_required"]:
        yield "nothing of this would apply"
    yield from _remarks(reply)


def _remarks(reply: Reply) -> Iterable[str]:
    for place in reply["restart_required"]:
        yield f"restart required: {place}"
    for warning in reply["warnings"]:
        yield f"warning: {warning}"


def _status(reply: Reply) -> Iterable[str]:
    connections, requests = reply["connections"], reply["requests"]
    yield f"serving {_count(reply['sites'], 'site')} for {_duration(reply['uptime_secs'])}"
    if reply["draining"]:
        yield f"draining: what is left is cut in {reply['drain_left_secs'] or 0:.0f} s"
    yield f"version {reply['version']}, pid {reply['pid']}, generation {reply['generation']}"
    yield f"configuration: {reply['config'] or 'of no file'}"
    yield f"listening on {', '.join(reply['listeners']) or 'nothing'}"
    limit = connections["limit"] or "no limit"
    paused = "" if connections["accepting"] else " (none is accepted until some have ended)"
    yield (
        f"connections: {connections['open']} open, {connections['in_flight']} in flight, "
        f"{connections['upgraded']} upgraded, {connections['waiting']} waiting; "
        f"at most {limit}{paused}"
    )
    classes = ", ".join(f"{requests[f'{digit}xx']} with {digit}xx" for digit in range(2, 6))
    yield f"requests: {requests['total']}, {classes}"
    if reply["log_lines_lost"]:
        yield f"log lines lost: {reply['log_lines_lost']}"
    for sink, reason in reply["log_failures"].items():
        yield f"log {sink}: {reason}"
    for place in reply["restart_required"]:
        yield f"restart required: {place}"
    yield ""
    yield from _listed(reply, "upstreams", "upstream scheme open idle made failures dead")
    yield ""
    yield from _certificates(reply)


def _sites(reply: Reply) -> Iterable[str]:
    return _listed(reply, "sites", "host upstream upstream_scheme listeners certificate")


def _certificates(reply: Reply) -> Iterable[str]:
    columns = "name kind not_after days_left source next_attempt error"
    return _listed(reply, "certificates", columns)


def _renewed(reply: Reply) -> Iterable[str]:
    yield f"issued for {reply['name']}, valid until {reply['not_after']}"


def _connections(reply: Reply) -> Iterable[str]:
    columns = "client_ip state age_secs server_name host method path"
    return _listed(reply, "connections", columns)


def _reopened(reply: Reply) -> Iterable[str]:
    yield "the log files have been opened again"


def _drain(reply: Reply) -> Iterable[str]:
    yield f"draining: {_count(reply['connections'], 'connection')} to end"


_SHOWN: Mapping[str, Callable[[Reply], Iterable[str]]] = {
    "reload": _outcome,
    "reload --diff": _preview,
    "status": _status,
    "sites": _sites,
    "certs": _certificates,
    "certs renew": _renewed,
    "connections": _connections,
    "reopen-logs": _reopened,
    "drain": _drain,
}


def _listed(reply: Reply, name: str, columns: str) -> Iterable[str]:
    """The list ``name`` as a table, and how much of it was left out."""
    rows = reply[name]
    yield from _table(columns, rows)
    total = reply.get(f"{name}_total", len(rows))
    if total > len(rows):
        yield f"... and {total - len(rows)} more"


def _table(columns: str, rows: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    """``rows`` under the names of ``columns``, separated by spaces; as wide as need be."""
    names = columns.split()
    cells = [[_cell(row[name]) for name in names] for row in rows]
    lines = [[name.upper() for name in names], *cells]
    widths = [max(len(line[index]) for line in lines) for index in range(len(names))]
    for line in lines:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        yield "  ".join(padded).rstrip()


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        value = ",".join(map(str, value))
    return harmless(str(value)) if value not in (None, "") else "-"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _duration(seconds: int) -> str:
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = ((days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s"))
    return " ".join([f"{number} {unit}" for number, unit in parts if number][:2]) or "0 s"
