#!/usr/bin/env python3
"""Reads the results of xfstests' check.

    summary.py summary RESULTS PROFILE [EXPECTED]
    summary.py report RESULTS_OF_ALL_PROFILES REPOSITORY
    summary.py states RESULTS            one line a test: name, state

RESULTS has result.xml as `check -R xunit` writes it. With EXPECTED (lines of "profile
test state reason...") exits with 1 if a test that is expected to pass did not.
"""
import collections
import pathlib
import re
import subprocess
import sys
import xml.etree.ElementTree

STATES = ("pass", "notrun", "fail")


def read_results(folder):
    """{test: (state, reason, seconds)}"""
    tests = {}
    for case in xml.etree.ElementTree.parse(folder / "result.xml").getroot().iter("testcase"):
        name = case.get("name")
        failure, skipped = case.find("failure"), case.find("skipped")
        if failure is not None:
            state, reason = "fail", failure.get("message") or ""
        elif skipped is not None:
            state, reason = "notrun", skipped.get("message") or ""
        else:
            state, reason = "pass", ""
        tests[name] = (state, re.sub(r"\s+", " ", reason), float(case.get("time") or 0))
    return tests


def read_expected(path):
    """{(profile, test): (state, reason)}"""
    expected = {}
    for line in path.read_text().splitlines():
        words = line.split("#")[0].split(None, 3)
        if len(words) >= 3:
            expected[words[0], words[1]] = (words[2], words[3] if len(words) > 3 else "")
    return expected


def counts(tests):
    count = collections.Counter(state for state, _, _ in tests.values())
    return ", ".join(f"{count[s]} {s}" for s in STATES)


def summary(folder, profile, expected_path):
    tests = read_results(folder)
    print(f"\n== {profile}: {counts(tests)}, {sum(t for _, _, t in tests.values()):.0f} s")
    for name, (state, reason, _) in sorted(tests.items()):
        if state == "fail":
            print(f"   fail    {name}  {reason}")
    for log in sorted(folder.glob("sanitizer.*")) + sorted(folder.glob("watchdog.log")):
        print(f"   see     {log}")
    if expected_path is None:
        return 0
    expected = read_expected(expected_path)
    worse = [n for n, (s, _, _) in tests.items()
             if s == "fail" and expected.get((profile, n), ("pass", ""))[0] != "fail"]
    better = [n for n, (s, _, _) in tests.items()
              if s == "pass" and expected.get((profile, n), ("pass", ""))[0] != "pass"]
    for name in sorted(worse):
        print(f"   worse   {name} is expected to pass: {tests[name][0]} {tests[name][1]}")
    for name in sorted(better):
        print(f"   better  {name} passes: expected.txt says otherwise")
    return 1 if worse else 0


def version(command):
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except OSError:
        return "?"


def report(results, repository):
    profiles = {p.name: read_results(p) for p in sorted(results.iterdir())
                if (p / "result.xml").exists()}
    expected = read_expected(repository / "xfstests-config/expected.txt")
    print("# Results of xfstests\n")
    print("Written by `xfstests-config/run.sh XFSTESTS_DIR --report`.\n")
    libraries = [f"{name} {version(['dpkg-query', '-W', '-f', '${Version}', name])}"
                 for name in ("librocksdb7.8", "libfuse3-3", "liburing2", "libnvme1")]
    print(f"- {', '.join(libraries)}\n")
    print("| profile | pass | not run | fail | run |\n|---|---|---|---|---|")
    for profile, tests in profiles.items():
        count = collections.Counter(state for state, _, _ in tests.values())
        run = results / profile / "run"
        print(f"| {profile} | {count['pass']} | {count['notrun']} | {count['fail']} "
              f"| {run.read_text().strip() if run.exists() else ''} |")
    copies = results / "nvme/copy_commands"
    if copies.exists():
        print(f"\nIn the nvme profile the drive has carried out {copies.read_text().strip()} "
              "Copy commands.")
    for profile, tests in profiles.items():
        failed = {n: t for n, t in tests.items() if t[0] == "fail"}
        print(f"\n## {profile}: what failed\n")
        if profile != "xfs":
            xfs = profiles.get("xfs", {})
            print("| test | XFS here | cause |\n|---|---|---|")
            for name in sorted(failed):
                cause = expected.get((profile, name), ("", "not looked into yet"))[1]
                print(f"| {name} | {xfs.get(name, ('not tried',))[0]} | {cause} |")
        else:
            print(", ".join(sorted(failed)) or "nothing")
        reasons = collections.Counter(t[1] for t in tests.values() if t[0] == "notrun")
        print(f"\n{profile}, not run, by xfstests' own reason:\n")
        for reason, count in reasons.most_common():
            print(f"- {count}: {reason}")


def main():
    command, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    if command == "report":
        return report(folder, pathlib.Path(sys.argv[3]))
    if command == "states":
        for name, (state, _, _) in sorted(read_results(folder).items()):
            print(name, state)
        return 0
    return summary(folder, sys.argv[3], pathlib.Path(sys.argv[4]) if len(sys.argv) > 4 else None)


sys.exit(main())
