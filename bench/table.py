#!/usr/bin/env python3
"""Medians of measured lines ("kind metric value") as a table, and as JSON.

    table.py RESULTS [--json FILE]
"""
import argparse
import json
import os
import platform
import statistics

UNITS = {
    "seq-write-1M": "MiB/s", "seq-read-1M-cold": "MiB/s", "seq-write-4k": "MiB/s",
    "rand-read-4k-qd1": "IOPS", "rand-read-4k-qd16": "IOPS",
    "rand-write-4k-qd1": "IOPS", "rand-write-4k-qd16": "IOPS", "write-4k-fsync": "IOPS",
    "create": "/s", "stat-cold": "/s", "stat-warm": "/s", "rename": "/s", "unlink": "/s",
    "cp-r-tree": "s",
}


def read_results(path):
    """{metric: {kind: [values]}}, in the order of their first lines."""
    metrics = {}
    with open(path, encoding="ascii") as lines:
        for line in lines:
            kind, metric, value = line.split()
            metrics.setdefault(metric, {}).setdefault(kind, []).append(float(value))
    return metrics


def shown(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}"


def print_table(metrics):
    kinds = list(dict.fromkeys(kind for row in metrics.values() for kind in row))
    print("{:<22}{:>8}".format("median", "") + "".join(f"{kind:>12}" for kind in kinds))
    for metric, row in metrics.items():
        cells = (shown(statistics.median(row[kind])) if kind in row else "-" for kind in kinds)
        print(f"{metric:<22}{UNITS.get(metric, ''):>8}" + "".join(f"{cell:>12}" for cell in cells))


def as_json(metrics):
    return {
        "machine": {"kernel": platform.release(), "processors": os.cpu_count()},
        "metrics": [
            {"metric": metric, "unit": UNITS.get(metric, ""), "kind": kind,
             "median": statistics.median(values), "values": values}
            for metric, row in metrics.items() for kind, values in row.items()
        ],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results")
    parser.add_argument("--json")
    arguments = parser.parse_args()
    metrics = read_results(arguments.results)
    print_table(metrics)
    if arguments.json:
        with open(arguments.json, "w", encoding="ascii") as out:
            json.dump(as_json(metrics), out, indent=2)
            out.write("\n")


if __name__ == "__main__":
    main()
