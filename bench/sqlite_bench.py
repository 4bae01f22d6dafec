#!/usr/bin/env python3
"""Transactions per second of SQLite with synchronous=FULL: each is durable when it ends.

    sqlite_bench.py wal|delete SECONDS FILE

A transaction inserts one row of 200 bytes into a table with an index.
"""
import sqlite3
import sys
import time


def main():
    journal_mode, seconds, path = sys.argv[1], float(sys.argv[2]), sys.argv[3]
    database = sqlite3.connect(path, isolation_level=None)
    given = database.execute(f"PRAGMA journal_mode={journal_mode}").fetchone()[0]
    if given != journal_mode:
        sys.exit(f"SQLite gives journal_mode={given} instead of {journal_mode}")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE lines (id INTEGER PRIMARY KEY, key INTEGER, words TEXT)")
    database.execute("CREATE INDEX by_key ON lines (key)")
    count = 0
    begin = time.monotonic()
    while time.monotonic() - begin < seconds:
        database.execute("INSERT INTO lines (key, words) VALUES (?, ?)",
                         (count * 2654435761 % 2**32, "x" * 200))
        count += 1
    print(f"{count / (time.monotonic() - begin):.1f}")
    database.close()


if __name__ == "__main__":
    main()
