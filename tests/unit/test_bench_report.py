"""The pure parts of the benchmark harness: reading what tools say, judging, rendering."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from bench import chart, report
from bench.cpu import parse_resident, parse_stat
from bench.h2load import p99, parse_h2load, parse_log
from bench.load import Load, LoadError, parse_wrk
from bench.machine import Cores, choose_cores
from bench.proxies.passthrough import parse_stream_module
from bench.results import Key, Measure, Results
from bench.scenarios.bodies import PER_CPU_SECOND
from bench.scenarios.small import CPU_PER_REQUEST
from bench.targets import judge
from twisted.trial.unittest import SynchronousTestCase

SPEED = Measure("speed", "MB/s", less_is_better=False)
H2LOAD = """\
Application protocol: h2
Stopped all clients for thread #0

finished in 500.25ms, 23448.50 req/s, 1.81MB/s
requests: 46897 total, 46961 started, 46897 done, 46890 succeeded, 7 failed, 4 errored, 0 timeout
status codes: 46880 2xx, 1 3xx, 4 4xx, 5 5xx
traffic: 3.62MB (3799057) total, 2.28MB (2391755) headers (space savings 37.04%), 549KB (5) data
"""


def results() -> Results:
    """Two rounds of P1: the proxy at twice nginx' cost, Envoy never measured."""
    found = Results()
    key = Key("P1", "", CPU_PER_REQUEST)
    for ours, nginx, caddy in ((40.0, 20.0, 100.0), (60.0, 30.0, 100.0)):
        found.add(key, "revproxy", ours)
        found.add(key, "nginx", nginx)
        found.add(key, "Caddy", caddy)
    return found


class ParsingTests(SynchronousTestCase):
    """What wrk and /proc say."""

    def test_wrk_result_line(self) -> None:
        """The line that load.lua ends with is found among what wrk prints itself."""
        line = 'RESULT {"requests": 7, "seconds": 2.5, "bytes": 90, "p99_ms": 1.25, "errors": 1}'
        self.assertEqual(parse_wrk(f"Running 2s test\n\n{line}\n"), Load(7, 2.5, 90, 1.25, 1))

    def test_wrk_failure(self) -> None:
        """Output without that line is an error that holds the output."""
        error = self.assertRaises(LoadError, parse_wrk, "unable to connect\n")
        self.assertEqual(str(error), "unable to connect")

    def test_h2load(self) -> None:
        """The lines that h2load ends with; a redirect or an error is no success either."""
        load = parse_h2load(H2LOAD, "h2", [4.0])
        self.assertEqual(load, Load(46897, 0.50025, 3799057, 4.0, 17))

    def test_h2load_failure(self) -> None:
        """Nothing answered, or another protocol than the one to be measured."""
        error = self.assertRaises(LoadError, parse_h2load, H2LOAD, "http/1.1", [])
        self.assertEqual(str(error), "h2 was spoken, not http/1.1")
        self.assertRaises(LoadError, parse_h2load, "connection refused", "h2", [])
        nothing = H2LOAD.replace(" 46897 done", " 0 done")
        self.assertRaises(LoadError, parse_h2load, nothing, "h2", [])

    def test_h2load_log(self) -> None:
        """Requests of the first half second, whatever their order, have no part in it."""
        log = "1500000\t200\t900\n1000000\t200\t20000\n1499999\t200\t1\n1700000\t200\t1100\n"
        self.assertEqual(parse_log(log), [0.9, 1.1])
        self.assertEqual(parse_log(""), [])

    def test_p99(self) -> None:
        """The least that 99 % do not exceed."""
        self.assertEqual(p99([float(number) for number in range(200, 0, -1)]), 198.0)
        self.assertEqual(p99([3.0]), 3.0)
        self.assertEqual(p99([]), 0.0)

    def test_stat_with_a_hostile_name(self) -> None:
        """A process name with spaces and parentheses does not shift the fields."""
        stat = parse_stat("42 (a) b (c)) S 7 1 1 0 -1 0 0 0 0 0 150 50 20 10 20 0 3 0")
        self.assertEqual((stat.parent, stat.own, stat.reaped), (7, 2.0, 0.3))

    def test_resident_bytes(self) -> None:
        """The Rss line counts, in KiB; Pss and the header do not."""
        rollup = "5581-7ffe ---p 00000000 00:00 0 [rollup]\nRss:  2048 kB\nPss:  100 kB\n"
        self.assertEqual(parse_resident(rollup), 2 << 20)

    def test_stream_module(self) -> None:
        """Built in, to be loaded, or not there; the modules of ``stream`` itself are not it."""
        modules = "configure arguments: --modules-path=/usr/lib/nginx/modules --with-compat "
        for more, module in (
            ("--with-stream=dynamic", Path("/usr/lib/nginx/modules/ngx_stream_module.so")),
            ("--with-stream --with-stream_ssl_module", Path()),
            ("--with-stream_ssl_preread_module", None),
        ):
            self.assertEqual(parse_stream_module(f"{modules}{more}\n"), module)
        self.assertIs(parse_stream_module("--with-stream=dynamic"), None)

    def test_cores(self) -> None:
        """The proxy has a core to itself wherever there are two, also where 0 is not usable."""
        self.assertEqual(choose_cores({3}), Cores(3, 3, 3))
        self.assertEqual(choose_cores({2, 1}), Cores(1, 2, 2))
        self.assertEqual(choose_cores({0, 1, 2, 3}), Cores(0, 1, 2))


class ResultsTests(SynchronousTestCase):
    """Medians and ratios."""

    def test_ratio_is_taken_round_by_round(self) -> None:
        """A round that was slow for both does not widen the ratio."""
        ratio = results().ratio(Key("P1", "", CPU_PER_REQUEST), "revproxy", "nginx")
        assert ratio is not None
        self.assertEqual((ratio.least, ratio.middle, ratio.most), (2.0, 2.0, 2.0))

    def test_verdicts(self) -> None:
        """A target is met, or its peer was not measured; scenarios not run have no verdict."""
        verdicts = {str(verdict.target): verdict.met for verdict in judge(results())}
        self.assertEqual(
            verdicts,
            {
                "CPU per request ≤ 0.5 x Caddy": True,
                "CPU per request ≤ 0.75 x Envoy": None,
                "CPU per request ≤ 2.2 x nginx": True,
            },
        )

    def test_missed_target(self) -> None:
        """A median above the limit is not met."""
        found = results()
        for _ in range(3):
            found.add(Key("P1", "", CPU_PER_REQUEST), "revproxy", 90.0)
            found.add(Key("P1", "", CPU_PER_REQUEST), "Caddy", 100.0)
        self.assertIs(judge(found)[0].met, False)

    def test_more_is_better(self) -> None:
        """Where more is better the limit is the least; the peer may be a proxy run another way."""
        found = Results()
        key = Key("P10", "", PER_CPU_SECOND)
        for ours, nginx in ((1000.0, 1000.0), (900.0, 1000.0), (1200.0, 1000.0)):
            found.add(key, "revproxy", ours)
            found.add(key, "nginx stream", nginx)
        verdicts = {str(verdict.target): verdict.met for verdict in judge(found)}
        self.assertEqual(verdicts, {"MB per CPU second ≥ 1 x nginx stream": True})


class RenderingTests(SynchronousTestCase):
    """The report and its chart."""

    def test_markdown(self) -> None:
        """Machine, medians with their range, ratios, verdicts and remarks are all there."""
        found = results()
        found.remark("Envoy is left out")
        text = report.render(
            found, judge(found), {"P1": "small"}, {"processor": "abacus"}, ["nginx 1.22.1"]
        )
        for line in (
            "- processor: abacus",
            "- nginx 1.22.1",
            "## P1: small",
            "| nginx | 25.0 (20.0-30.0) | 2.00 (2.00-2.00) |",
            "| P1: CPU per request ≤ 0.5 x Caddy | 0.5 (0.4-0.6) | met |",
            "| P1: CPU per request ≤ 0.75 x Envoy | - | not measured |",
            "- Envoy is left out",
        ):
            self.assertIn(line, text.splitlines())

    def test_chart_is_well_formed(self) -> None:
        """The chart is XML, with a bar for each subject and names escaped."""
        found = results()
        found.add(Key("P4", "a <b>", SPEED), "x & y", 3.0)
        root = ElementTree.fromstring(chart.render(found))
        texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
        self.assertIn("P4: a <b> speed, MB/s (more is better)", texts)
        self.assertIn("x & y", texts)
        bars = list(root.iter("{http://www.w3.org/2000/svg}rect"))
        self.assertEqual(len(bars), 1 + 4)

    def test_chart_survives_zeros(self) -> None:
        """A panel in which everything is 0 is drawn too."""
        found = Results()
        found.add(Key("P9", "", SPEED), "nothing", 0.0)
        ElementTree.fromstring(chart.render(found))
