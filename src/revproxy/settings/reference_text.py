"""The prose of the configuration reference, around the tables that ``reference.py`` makes.

Owns what no single field can say. Refuses to repeat a field's range, default or meaning; a number
that the reader knows is taken from it.
"""

from __future__ import annotations

from revproxy.settings.files import MOST_FILE_BYTES
from revproxy.settings.includes import MOST_FILES
from revproxy.settings.units import UNITS

EXAMPLE = """\
[rate_limit]
requests_per_second = 10
burst = 20

[body]
limit_bytes = "100MiB"

[[listeners]]
bind_addr = "203.0.113.10"

[listeners.tls]
mode = "manual"
cert_path = "/etc/ssl/example.com/fullchain.pem"
key_path = "/etc/ssl/example.com/privkey.pem"

[[listeners.sites]]
host = "git.example.com"
upstream = "127.0.0.1:3000"
"""
"""The smallest file."""

INTRODUCTION = f"""\
<!-- Made by `make docs` of src/revproxy/settings and src/revproxy/model/configuration.py. -->

# The configuration file

TOML. `revproxy validate --config FILE` says everything that is wrong with a file, each mistake
with its place. An unknown key, a wrong type and a value out of range are errors.

- Durations (`_secs`) are numbers of seconds, fractions too, and no strings.
- Sizes are whole numbers of bytes, or strings of a whole number and a unit, such as `"10MiB"`.
  The units are {", ".join(f"`{unit}`" for unit in UNITS)}.
- Relative paths are relative to the file that they stand in.
- `include` adds further files. Each of its patterns (with `*`, `?` and `[...]`, relative to the
  main file) stands for the files that match, in name order; one without a wildcard has to match.
  A file counts once. There may be {MOST_FILES} of them, each, as the main one, of
  {MOST_FILE_BYTES} bytes at most.

The smallest file has one listener with a certificate and a site, and the two required sections:

```toml
{EXAMPLE}```

## What a reload applies

All fields but those marked **S**, for static: they stay as they were at the start, until a
restart. Of a listener only its existence, `bind_addr` and ports are static, not its certificates
and sites. Every file is read and checked before anything changes, and the certificates are read
again.
"""

TITLES = {"": "Top level", "included": "Included files"}
"""Headings of what is no table: the two kinds of file."""

REMARKS = {
    "rate_limit": """\
A token bucket for each client address (IPv6: each /64), before routing, on both ports. A reload
keeps the buckets.""",
    "timeouts": """\
A downstream that takes longer is disconnected, with the status that is named where an answer can
still be given.""",
    "limits": """\
Where a status is named, it is the answer to more than that.""",
    "listeners.tls.certificates": """\
Written as tables of their own, or in one array:
`certificates = [{ cert_path = "...", key_path = "..." }]`.""",
    "included": """\
A file that `include` names holds `[[listeners]]`, as above, and `[[sites]]`, and no other key.""",
    "sites": """\
The keys of `[[listeners.sites]]`, and one more:""",
}
"""What stands between a heading and its table, by the place of the table."""

NOT_YET = """\
## Not available yet

These keys are refused as "not available yet", and not as unknown ([what that
is](architecture/overview.md#not-yet)).
"""
