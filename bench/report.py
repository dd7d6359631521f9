"""A run as Markdown: the machine, a table per scenario, the targets, the remarks."""

from __future__ import annotations

from bench.results import Key, Results, Spread
from bench.targets import OURS, Verdict

_PREFACE = """\
Median (least-most) of interleaved rounds, each proxy alone on its core while it is measured.
Ratios are taken round by round: trust them rather than the absolute figures, which belong to this
machine and this hour."""

_ANSWERS = {True: "met", False: "**not met**", None: "not measured"}


def number(value: float) -> str:
    """Three significant digits, whole above 100, thousands apart."""
    if abs(value) >= 100:
        return f"{value:,.0f}".replace(",", " ")
    return (
        f"{value:.3g}" if abs(value) < 1 else f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"
    )


def spread(value: Spread | None) -> str:
    """``median (least-most)``, or a dash."""
    if value is None:
        return "-"
    return f"{number(value.middle)} ({number(value.least)}-{number(value.most)})"


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """A Markdown table; the first column is text, the others are figures."""
    rule = ["---", *("---:" for _ in head[1:])]
    return ["| " + " | ".join(row) + " |" for row in (head, rule, *rows)]


def render(
    results: Results,
    verdicts: list[Verdict],
    titles: dict[str, str],
    machine: dict[str, str],
    versions: list[str],
) -> str:
    """The whole report.

    Args:
        results: the samples.
        verdicts: of the targets, in order.
        titles: of the scenarios, by id.
        machine: what :func:`bench.machine.describe` says.
        versions: of the proxies that ran.
    """
    lines = [
        "# Benchmark",
        "",
        _PREFACE,
        "",
        *(f"- {name}: {value}" for name, value in machine.items()),
    ]
    lines += [f"- {version}" for version in versions]
    for scenario in results.scenarios():
        lines += ["", f"## {scenario}: {titles[scenario]}"]
        series = dict(results.of(scenario))
        for variant in dict.fromkeys(key.variant for key in series):
            keys = [key for key in series if key.variant == variant]
            lines += ["", *([f"### {variant}", ""] if variant else [])]
            lines += _figures(results, keys)
    lines += ["", "## Targets", "", *_targets(verdicts)]
    if results.remarks:
        lines += ["", "## Remarks", "", *(f"- {remark}" for remark in results.remarks)]
    return "\n".join(lines) + "\n"


def _figures(results: Results, keys: list[Key]) -> list[str]:
    subjects = list(dict.fromkeys(name for key in keys for name in results.samples[key]))
    head = ["", *(f"{key.measure.name}, {key.measure.unit}" for key in keys)]
    compared = OURS in subjects
    if compared:
        head.append(f"{OURS} / it ({keys[0].measure.name})")
    rows = []
    for name in subjects:
        row = [name, *(spread(results.spread(key, name)) for key in keys)]
        if compared:
            row.append("" if name == OURS else spread(results.ratio(keys[0], OURS, name)))
        rows.append(row)
    return table(head, rows)


def _targets(verdicts: list[Verdict]) -> list[str]:
    rows = [
        [f"{v.target.key.scenario}: {v.target}", spread(v.measured), _ANSWERS[v.met]]
        for v in verdicts
    ]
    return table(["Target", "measured", "verdict"], rows)
