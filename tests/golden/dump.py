#!/usr/bin/env python3
"""Prints a database as SQL, exactly: python3 tests/golden/dump.py DATABASE [SCHEMA].

With SCHEMA, as the migrations up to that one and the writer would have left it.
"""

import pathlib
import sqlite3
import sys

MIGRATIONS = sorted(pathlib.Path(__file__).parents[2].joinpath("migrations").glob("*.sql"))


def main(path, schema=None):
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    version = int(schema or db.execute("PRAGMA user_version").fetchone()[0])
    like = sqlite3.connect(":memory:")
    for migration in MIGRATIONS[:version]:
        like.executescript(migration.read_text())
    made = {name for (name,) in like.execute("SELECT name FROM sqlite_schema")}
    if "mart_watermark" in made:
        marts = db.execute("SELECT name FROM sqlite_schema WHERE name LIKE '%\\_mart' ESCAPE '\\'")
        made |= {name for (name,) in marts}
    print(f"PRAGMA application_id = {db.execute('PRAGMA application_id').fetchone()[0]};")
    print(f"PRAGMA user_version = {version};")
    print("BEGIN;")
    schema = "SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid"
    for kind, name, sql in db.execute(schema).fetchall():
        if name not in made or name == "sqlite_sequence":
            continue
        print(f"{sql};")
        if kind != "table":
            continue
        # Generated columns are not among these.
        columns = [row[1] for row in db.execute(f"PRAGMA table_info({name})")]
        names = ", ".join(f'"{column}"' for column in columns)
        values = " || ', ' || ".join(f'quote("{column}")' for column in columns)
        for (row,) in db.execute(f"SELECT {values} FROM {name}"):
            print(f"INSERT INTO {name} ({names}) VALUES ({row});")
    print("DELETE FROM sqlite_sequence;")
    for name, seq in db.execute("SELECT name, seq FROM sqlite_sequence"):
        print(f"INSERT INTO sqlite_sequence (name, seq) VALUES ('{name}', {seq});")
    print("COMMIT;")


main(*sys.argv[1:])
