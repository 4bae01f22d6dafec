#!/usr/bin/env python3
"""What bench/run.sh measured, as a table, as JSON and as a picture.

Reads lines "round kind metric ok|failed|skipped value-or-reason", separated by tabs, and
writes table.md (which is printed, too), results.json and, where gnuplot is there,
picture.svg and scaling.svg.
"""
import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from dataclasses import dataclass, field

FUSE_PEERS = ("fuse2fs", "mergerfs")
REFERENCE = "xfs"
LIMIT = "null"
OURS = "cofs"
# Parts of a copy's cost that say little in a picture of speeds.
NOT_DRAWN = ("-cpu", "-read", "-written")


@dataclass
class Metric:
    name: str
    unit: str
    better: str  # higher, lower
    title: str
    section: str
    values: dict = field(default_factory=dict)    # kind: [one for each round]
    failures: dict = field(default_factory=dict)  # kind: [reasons]
    skips: dict = field(default_factory=dict)     # kind: reason

    def median(self, kind):
        values = self.values.get(kind)
        return statistics.median(values) if values else None

    def spread(self, kind):
        """The distance of the best from the worst, as a part of the median."""
        values, median = self.values.get(kind, []), self.median(kind)
        return (max(values) - min(values)) / median if len(values) > 1 and median else None

    def ratio(self, kind, other):
        """How many times as good kind is as other: above one, kind is better."""
        ours, theirs = self.median(kind), self.median(other)
        if not ours or not theirs:
            return None
        return ours / theirs if self.better == "higher" else theirs / ours

    def best_of(self, kinds):
        measured = [kind for kind in kinds if self.median(kind) is not None]
        pick = max if self.better == "higher" else min
        return pick(measured, key=self.median) if measured else None


def read_catalogue(path):
    """{name: Metric}, in the order of the table."""
    metrics, section = {}, ""
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            line = line.strip()
            if line.startswith("["):
                section = line.strip("[]")
            elif line and not line.startswith("#"):
                name, _, unit, better, title = line.split(None, 4)
                metrics[name] = Metric(name, unit, better, title, section)
    return metrics


def read_results(path, catalogue):
    """The metrics that were measured. One with a parameter, as in name:10, follows its
    namesakes."""
    measured = {}
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            _, kind, name, status, value = line.rstrip("\n").split("\t", 4)
            if name not in measured:
                base, _, parameter = name.partition(":")
                entry = catalogue[base]
                title = f"{entry.title}, {parameter}" if parameter else entry.title
                measured[name] = Metric(name, entry.unit, entry.better, title, entry.section)
            metric = measured[name]
            if status == "ok":
                metric.values.setdefault(kind, []).append(float(value))
            elif status == "failed":
                metric.failures.setdefault(kind, []).append(value)
            else:
                metric.skips[kind] = value
    order = {name: place for place, name in enumerate(catalogue)}

    def place(metric):
        base, _, parameter = metric.name.partition(":")
        return order[base], int(parameter or 0)
    return sorted(measured.values(), key=place)


def shown(value):
    if value >= 100:
        return f"{value:,.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 0.1 or value == 0 else f"{value:.4f}"


def cell(metric, kind):
    if metric.median(kind) is None:
        return "failed" if kind in metric.failures else "-"
    # A median of the rounds that worked says that there were others.
    return shown(metric.median(kind)) + (" (!)" if kind in metric.failures else "")


def ratio_cell(ratio):
    return "-" if ratio is None else f"{ratio:.2f}"


def table_of(metrics, kinds):
    """One row for each metric; what is compared with is a column only if it was measured."""
    compared = []
    if OURS in kinds:
        if REFERENCE in kinds:
            compared.append(("cofs : XFS", lambda metric: REFERENCE))
        if any(peer in kinds for peer in FUSE_PEERS):
            compared.append(("cofs : best FUSE peer", lambda metric: metric.best_of(FUSE_PEERS)))
        if LIMIT in kinds:
            compared.append(("cofs : null", lambda metric: LIMIT))
    rows = [["", "", *kinds, *(title for title, _ in compared)]]
    if OURS in kinds:
        rows[0].append("spread of cofs")
    for metric in metrics:
        row = [metric.title, metric.unit, *(cell(metric, kind) for kind in kinds)]
        row += [ratio_cell(metric.ratio(OURS, other(metric))) for _, other in compared]
        if OURS in kinds:
            spread = metric.spread(OURS)
            row.append("-" if spread is None else f"{spread * 100:.0f} %")
        rows.append(row)
    return rows


def markdown(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]

    def line(row):
        cells = [row[0].ljust(widths[0])]
        cells += [text.rjust(width) for text, width in zip(row[1:], widths[1:])]
        return "| " + " | ".join(cells) + " |"
    rule = "|" + "|".join("-" * (width + 1) + ("-" if i == 0 else ":")
                          for i, width in enumerate(widths)) + "|"
    return "\n".join([line(rows[0]), rule, *map(line, rows[1:])])


def processor_name():
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def machine():
    return {
        "kernel": platform.release(),
        "processor": processor_name(),
        "processors": os.cpu_count(),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
    }


def report(metrics, arguments, versions):
    kinds, host = arguments.kinds.split(), machine()
    words = [
        f"{host['processors']} processors ({host['processor']}), {host['memory_mib']} MiB, "
        f"Linux {host['kernel']}; cofs at commit {arguments.commit}; volumes in memory behind "
        f"a loop device; medians, rounds: {arguments.rounds}."
    ]
    if arguments.size == "quick":
        words.append("Quick sizes: this shows that everything works, and measures little.")
    words.append("Ratios say how many times as good cofs is; above 1.00 it is better, whatever "
                 "the unit. - : not there, results.json says why. (!) : some rounds failed.")
    words.append("Versions: " + "; ".join(f"{kind} {text}" for kind, text in versions.items()
                                          if text) + ".")
    parts = ["\n\n".join(words)]
    told = [metric for metric in metrics if metric.values or metric.failures]
    for section in dict.fromkeys(metric.section for metric in told):
        rows = table_of([metric for metric in told if metric.section == section], kinds)
        rows[0][0] = section
        parts.append(markdown(rows))
    return "\n\n".join(parts) + "\n"


def as_json(metrics, arguments, versions):
    def entry(metric):
        kinds = sorted({*metric.values, *metric.failures, *metric.skips})
        return {
            "metric": metric.name, "title": metric.title, "section": metric.section,
            "unit": metric.unit, "better": metric.better,
            "median": {kind: metric.median(kind) for kind in kinds if kind in metric.values},
            "values": metric.values, "failed": metric.failures, "skipped": metric.skips,
        }
    return {
        "machine": machine(), "commit": arguments.commit, "versions": versions,
        "rounds": arguments.rounds, "size": arguments.size,
        "kinds": arguments.kinds.split(), "metrics": [entry(metric) for metric in metrics],
    }


def draw(script, path):
    """Without gnuplot there is no picture, and a word on it."""
    if shutil.which("gnuplot") is None:
        print(f"{os.path.basename(path)} is left out: gnuplot is missing: "
              "apt-get install gnuplot-nox", file=sys.stderr)
        return
    done = subprocess.run(["gnuplot"], input=script, text=True, capture_output=True, check=False)
    if done.returncode != 0:
        print(f"{os.path.basename(path)} is left out: {done.stderr.strip()}", file=sys.stderr)


def quoted(text):
    return '"' + text.replace('"', "'") + '"'


def colour_of(kind):
    """The same in all pictures."""
    return quoted({
        "xfs": "#333333", "btrfs": "#e69f00", "ext4": "#56b4e9", "fuse2fs": "#cc79a7",
        "mergerfs": "#d55e00", "null": "#aaaaaa", "cofs": "#009e73",
    }.get(kind, "#0072b2"))


def draw_speeds(metrics, kinds, path):
    """Bars: how good each is, relative to XFS, on a logarithmic scale."""
    drawn = [metric for metric in metrics
             if ":" not in metric.name and not metric.name.endswith(NOT_DRAWN) and
             metric.median(REFERENCE)]
    others = [kind for kind in kinds if kind != REFERENCE and
              any(metric.ratio(kind, REFERENCE) for metric in drawn)]
    if not others:
        return
    width = 0.8 / len(others)
    lines, plots = [], []
    for number, kind in enumerate(others):
        lines.append(f"$data{number} << END")
        for x, metric in enumerate(drawn):
            if ratio := metric.ratio(kind, REFERENCE):
                left = x - 0.4 + number * width
                # x y xlow xhigh ylow yhigh: a bar from 1 up or down
                lines.append(f"{x} {ratio} {left:.4f} {left + width:.4f} 1 {ratio}")
        lines.append("END")
        plots.append(f"$data{number} with boxxyerror lc {colour_of(kind)} title {quoted(kind)}")
    labels = ", ".join(f"{quoted(metric.name)} {x}" for x, metric in enumerate(drawn))
    lines += [
        f"set terminal svg noenhanced size {300 + 50 * len(drawn)},640 font 'sans,12' "
        "background 'white'",
        f"set output {quoted(path)}",
        "set title 'Times as good as XFS: bars that go up are better, those that go down worse'",
        "set style fill solid 0.8 noborder", "set logscale y", "set grid ytics",
        "set format y '%g'", f"set xrange [-0.6:{len(drawn) - 0.4}]",
        f"set xtics rotate by -45 ({labels})", "set key outside top right",
        "plot " + ", ".join(plots) + ", 1 notitle lc 'black'",
    ]
    draw("\n".join(lines) + "\n", path)


def draw_scaling(metrics, kinds, path):
    """For each scaling metric one plot of the medians over the parameter."""
    families = {}
    for metric in metrics:
        base, _, parameter = metric.name.partition(":")
        if parameter and metric.values:
            families.setdefault(base, []).append((int(parameter), metric))
    if not families:
        return
    columns = 2
    rows = (len(families) + columns - 1) // columns
    lines = [
        f"set terminal svg noenhanced size 1200,{360 * rows} font 'sans,12' "
        "background 'white'",
        f"set output {quoted(path)}", f"set multiplot layout {rows},{columns}",
        "set logscale xy", "set grid", "set format '%g'", "set key outside",
    ]
    for number, points in enumerate(families.values()):
        first, plots = points[0][1], []
        for place, kind in enumerate(kinds):
            # A median of zero has no place on such a scale.
            measured = [(x, metric.median(kind)) for x, metric in points if metric.median(kind)]
            if not measured:
                continue
            lines += [f"$data{number}_{place} << END", *(f"{x} {y}" for x, y in measured), "END"]
            plots.append(f"$data{number}_{place} using 1:2 with linespoints "
                         f"lw 2 lc {colour_of(kind)} title {quoted(kind)}")
        title = first.title.rpartition(",")[0]
        lines += [f"set title {quoted(title + ', ' + first.unit)}",
                  f"set xlabel {quoted(first.section)}", "plot " + ", ".join(plots)]
    lines.append("unset multiplot")
    draw("\n".join(lines) + "\n", path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for option in ("metrics", "results", "versions", "kinds", "commit", "size", "out"):
        parser.add_argument(f"--{option}", required=True)
    parser.add_argument("--rounds", type=int, required=True)
    arguments = parser.parse_args()
    metrics = read_results(arguments.results, read_catalogue(arguments.metrics))
    with open(arguments.versions, encoding="utf-8") as lines:
        versions = dict(line.rstrip("\n").split("\t", 1) for line in lines)
    kinds = arguments.kinds.split()
    text = report(metrics, arguments, versions)
    print(text, end="")
    with open(os.path.join(arguments.out, "table.md"), "w", encoding="utf-8") as out:
        out.write(text)
    with open(os.path.join(arguments.out, "results.json"), "w", encoding="utf-8") as out:
        json.dump(as_json(metrics, arguments, versions), out, indent=2)
        out.write("\n")
    draw_speeds(metrics, kinds, os.path.join(arguments.out, "picture.svg"))
    draw_scaling(metrics, kinds, os.path.join(arguments.out, "scaling.svg"))


if __name__ == "__main__":
    main()
