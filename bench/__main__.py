"""The command: ``python -m bench``, from the root of the repository."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from pathlib import Path

from bench import chart, report
from bench.certificates import write_certificate
from bench.machine import describe, find_program
from bench.proxies import ALL
from bench.scenarios import RUN, TITLES
from bench.stage import Effort, Stage
from bench.targets import judge
from bench.upstream import Upstreams

_ROOT = Path(__file__).resolve().parents[1]
_TOOLS = ("taskset", "nginx", "wrk", "curl")


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="P1 alone, printed, in a minute")
    parser.add_argument("--only", metavar="IDS", help="some scenarios, printed: P1,P5")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds (%(default)s)")
    parser.add_argument(
        "--seconds", type=int, default=3, help="of load in each round (%(default)s)"
    )
    parser.add_argument(
        "--proxies", metavar="NAMES", help="some proxies: " + ",".join(p.name for p in ALL)
    )
    parser.add_argument(
        "--output",
        type=Path,
        help="where to write latest.md, .svg and .json (default: docs/benchmarks, whole runs)",
    )
    chosen = parser.parse_args(arguments)
    wanted = "P1" if chosen.quick else chosen.only or ",".join(RUN)
    chosen.scenarios = wanted.split(",")
    if unknown := set(chosen.scenarios) - set(RUN):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    if chosen.output is None and not (chosen.quick or chosen.only or chosen.proxies):
        chosen.output = _ROOT / "docs" / "benchmarks"
    return chosen


def run(chosen: argparse.Namespace, folder: Path) -> tuple[Stage, list[str]]:
    """Run the chosen scenarios in ``folder``; the stage, and the versions of what ran."""
    wanted = chosen.proxies.split(",") if chosen.proxies else [proxy.name for proxy in ALL]
    proxies = [proxy for proxy in ALL if proxy.name in wanted and not proxy.missing()]
    certificate = write_certificate(folder, "localhost", ("localhost",))
    upstreams = Upstreams(folder / "upstreams", certificate)
    try:
        stage = Stage(
            folder,
            upstreams,
            certificate,
            proxies,
            Effort(chosen.rounds, chosen.seconds),
        )
        for proxy in ALL:
            if proxy.name in wanted and (why := proxy.missing()):
                stage.results.remark(f"{proxy.name} is left out: {why}")
        for scenario in chosen.scenarios:
            RUN[scenario](stage)
    finally:
        upstreams.close()
    return stage, [proxy.version() for proxy in proxies]


def main(arguments: list[str]) -> int:
    """Measure and report. The status says only whether it could run, never what it found."""
    chosen = parse_arguments(arguments)
    if absent := [name for name in _TOOLS if not find_program(name)]:
        print(f"bench: cannot run without {', '.join(absent)}", file=sys.stderr)
        return 2
    # What was started is stopped on the way out, also when make or timeout ends the run.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    machine = describe()
    with tempfile.TemporaryDirectory(prefix="revproxy-bench-") as folder:
        stage, versions = run(chosen, Path(folder))
    results = stage.results
    text = report.render(results, judge(results), TITLES, machine, versions)
    print(text)
    if chosen.output:
        write(chosen.output, text, chart.render(results))
        kept = {"machine": machine, "versions": versions, "series": results.as_json()}
        (chosen.output / "latest.json").write_text(json.dumps(kept, indent=1) + "\n")
    return 0


def write(folder: Path, text: str, drawing: str) -> None:
    """Put the report and its chart into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "latest.md").write_text(text + "\n![The figures as bars](latest.svg)\n")
    (folder / "latest.svg").write_text(drawing)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
