"""What a systemd unit lets its processes ask of the kernel, without systemd.

Owns the expansion of a unit's ``SystemCallFilter=`` and, run as a script, the filters for a
command: those calls, ``RestrictAddressFamilies=``, ``MemoryDenyWriteExecute=``,
``NoNewPrivileges=`` and the capabilities. Refuses to know what a unit shows of the file system.

As a script it imports the standard library only::

    python unit_sandbox.py CALL,CALL... FAMILY,FAMILY... COMMAND...
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
import subprocess
import sys
from pathlib import Path

SCRIPT = str(Path(__file__).resolve())

ALLOW = 0x7FFF0000
REFUSE = 0x00050000  # with an errno
EQUAL, MASKED_EQUAL = 4, 7
MOST_FAMILIES = 64
SHM_EXEC = 0o100000
PR_CAPBSET_READ, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 23, 24, 38
NET_BIND_SERVICE = 10

Settings = dict[str, list[str]]


def read_unit(path: Path) -> Settings:
    """The settings of a unit, each with all of its values in order."""
    settings: Settings = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            settings.setdefault(name, []).append(value)
    return settings


def allowed_calls(unit: Settings, systemd_analyze: str) -> set[str]:
    """The system calls that ``SystemCallFilter=`` comes to; an allow-list first."""
    groups = _groups(systemd_analyze)
    allowed = set(groups["@default"])
    for line in unit["SystemCallFilter"]:
        listed = {
            call for name in line.removeprefix("~").split() for call in groups.get(name, {name})
        }
        allowed = allowed - listed if line.startswith("~") else allowed | listed
    return allowed


def _groups(systemd_analyze: str) -> dict[str, set[str]]:
    """systemd's own groups of system calls."""
    printed = subprocess.run(
        [systemd_analyze, "syscall-filter", "--no-pager"],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    ).stdout
    members: dict[str, list[str]] = {}
    for line in printed.splitlines():
        if line.startswith("@"):
            current = members.setdefault(line.strip(), [])
        elif line.startswith("    ") and not line.strip().startswith("#"):
            current.append(line.strip())

    def flat(name: str) -> set[str]:
        return {
            call
            for member in members[name]
            for call in (flat(member) if member.startswith("@") else {member})
        }

    return {name: flat(name) for name in members}


def sandboxed(unit: Settings, systemd_analyze: str) -> tuple[str, ...]:
    """The beginning of a command that is to run as the unit would let it."""
    calls = ",".join(sorted(allowed_calls(unit, systemd_analyze)))
    families = ",".join(unit["RestrictAddressFamilies"][0].split())
    return (sys.executable, SCRIPT, calls, families)


class _Comparison(ctypes.Structure):
    _fields_ = [
        ("argument", ctypes.c_uint),
        ("operation", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    ]


class _Filter:
    """One filter of the process, by libseccomp."""

    def __init__(self, otherwise: int) -> None:
        self._library = ctypes.CDLL("libseccomp.so.2")
        self._library.seccomp_init.restype = ctypes.c_void_p
        self._context = ctypes.c_void_p(self._library.seccomp_init(ctypes.c_uint32(otherwise)))

    def rule(self, action: int, call: str, *comparison: int) -> None:
        """What becomes of a call, perhaps only with such an argument; unknown ones are skipped."""
        number = self._library.seccomp_syscall_resolve_name(call.encode())
        if number >= 0:
            compare = _Comparison(*comparison)
            status = self._library.seccomp_rule_add_array(
                self._context,
                ctypes.c_uint32(action),
                number,
                len(comparison) and 1,
                ctypes.byref(compare),
            )
            assert status == 0, (call, status)

    def load(self) -> None:
        """Put it into force, for good."""
        status = self._library.seccomp_load(self._context)
        assert status == 0, os.strerror(-status)


def confine(calls: list[str], families: list[str]) -> None:
    """Give up everything but these for this process and what it runs."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    capability = 0
    while prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0:
        if capability != NET_BIND_SERVICE:
            prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)  # refused where there is none to drop
        capability += 1
    assert prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0

    allowed = {getattr(socket, name) for name in families}
    by_family = _Filter(ALLOW)
    for family in set(range(MOST_FAMILIES)) - allowed:
        by_family.rule(REFUSE | errno.EAFNOSUPPORT, "socket", 0, EQUAL, family)
    both = mmap.PROT_WRITE | mmap.PROT_EXEC
    write_or_execute = _Filter(ALLOW)
    refuse = REFUSE | errno.EPERM
    write_or_execute.rule(refuse, "mmap", 2, MASKED_EQUAL, both, both)
    for call in ("mprotect", "pkey_mprotect"):
        write_or_execute.rule(refuse, call, 2, MASKED_EQUAL, mmap.PROT_EXEC, mmap.PROT_EXEC)
    write_or_execute.rule(refuse, "shmat", 2, MASKED_EQUAL, SHM_EXEC, SHM_EXEC)
    by_call = _Filter(refuse)
    for call in calls:
        by_call.rule(ALLOW, call)
    for each in (by_family, write_or_execute, by_call):
        each.load()


if __name__ == "__main__":
    confine(sys.argv[1].split(","), sys.argv[2].split(","))
    os.execv(sys.argv[3], sys.argv[3:])
