#!/usr/bin/env python3
"""Compares tallyd's totals with ccusage's over the same logs, and explains every difference by a rule.

    bench/accuracy.py LOGS [--tallyd FILE] [--zone UTC] [--ccusage 20.0.24]

LOGS is a home folder with logs of agents, or a folder that holds several, which are merged into one.
ccusage is installed in a pinned version into a scratch folder, which is removed at the end, and run there
without a network where the system allows that.

Nothing is taken on trust from either program. The logs are counted a third time, by the independent script
`tests/oracle.py`, call by call. That count must be tallyd's. Then one rule after the other is replaced by the one
ccusage follows, and what this moves is the rule's share of the difference. With all of them replaced the
count must be ccusage's: in total, on every day, for every model and in every session. What is left of a
difference after that is printed as unexplained, and the script fails.
"""

import argparse
import bisect
import collections
import filecmp
import functools
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace as NS
from zoneinfo import ZoneInfo

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY / "tests"), str(REPOSITORY / "bench")]

import oracle  # noqa: E402
import peers  # noqa: E402

KINDS = ("input", "output", "cache read", "cache write")
COUNTS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_create_tokens")
USE = (*COUNTS, "cache_create_1h_tokens", "web_search_requests")
NOTHING = (0, 0, 0, 0, 0)
UNEXPLAINED = "UNEXPLAINED: the independent count is another than tallyd's"


# ---- figures: four kinds of tokens, and nano-USD


def added(*figures):
    return tuple(map(sum, zip(NOTHING, *figures)))


def taken(a, b):
    return tuple(x - y for x, y in zip(a, b))


def of_row(row):
    return (*(row.use[name] for name in COUNTS), row.cost or 0)


def utc(ms):
    return datetime.fromtimestamp(ms / 1000, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def changed(row, **fields):
    return NS(**(vars(row) | fields))


def grouped(rows, by):
    sums = collections.defaultdict(lambda: NOTHING)
    for row in rows:
        sums[by(row)] = added(sums[by(row)], of_row(row))
    return {group: sum_ for group, sum_ in sums.items() if any(sum_)}


def is_same(a, b, calls):
    """Tokens are equal or not. Of costs tallyd rounds each call to a nano-USD, ccusage none."""
    *tokens, cost = taken(a, b)
    return not any(tokens) and abs(cost) <= calls


# ---- the logs


# Where the agents log that both programs read. Nothing else of a home is copied.
FOLDERS = (
    ".claude/projects",
    ".config/claude/projects",
    ".codex/sessions",
    ".codex/archived_sessions",
    ".copilot",
    ".gemini/tmp",
    ".local/share/opencode",
    ".pi/agent/sessions",
)


def merged(logs, home):
    """Copies a home, or several into one. A file that two of them hold differently is a reason to stop: one of
    the two would not be counted."""
    is_home = any((logs / folder).exists() for folder in FOLDERS)
    parts = [logs] if is_home else sorted(part for part in logs.iterdir() if part.is_dir())
    for part in parts:
        for path in (path for folder in FOLDERS for path in os.walk(part / folder)):
            for file in (Path(path[0], name) for name in path[2]):
                target = home / file.relative_to(part)
                if target.exists() and not filecmp.cmp(file, target, shallow=False):
                    sys.exit(f"two homes hold {target.relative_to(home)} with different contents")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file, target)
    if not home.exists():
        sys.exit(f"no logs of agents in {logs}, nor in folders of it")


# ---- ours


def of_tallyd(home, provider):
    """The calls of tallyd's database, each as a row like the independent script's."""
    with closing(sqlite3.connect(f"file:{home}/.local/share/tallyd/tallyd.db?mode=ro", uri=True)) as db:
        query = f"""SELECT ts_ms, day, model, session_id, cost_nanousd, reasoning_tokens, {", ".join(USE)}
            FROM usage_events WHERE provider = ? AND role = 'assistant'"""
        for ts, day, model, session, cost, reasoning, *use in db.execute(query, (provider,)):
            use = dict(zip(USE, use)) | {"speed": "standard"}
            yield NS(ts=ts, day=day, model=model, session=session, cost=cost, reasoning=reasoning, use=use, is_sum=False)


# ---- Claude Code as ccusage counts it


@functools.cache
def counted_of_claude(home):
    return [row for row in oracle.claude(home) if row.role == "assistant"]


@functools.cache
def calls_of_claude(home):
    """What every line states, and the session that its file is named after."""
    calls = []
    projects = os.path.join(os.path.realpath(home), ".claude", "projects")
    for path in oracle.walk(projects, lambda name: name.endswith(".jsonl")):
        slug, _, inner = os.path.relpath(path, projects).partition(os.sep)
        parts = inner.split(os.sep)
        for statement in oracle.claude_file(path, slug, inner):
            if statement.role == "assistant":
                statement.of_file = parts[0] if len(parts) > 1 else parts[0][: -len(".jsonl")]
                calls.append(statement)
    return calls


def total(statement):
    return sum(statement.use[name] for name in COUNTS)


def kept_by_ccusage(statements, needs_request):
    """One statement of each call: that with the most tokens, of the main chain before a side chain. Lines are the same
    call if message and request are; a side chain's also if the message is."""
    kept, by_message, by_request = [], collections.defaultdict(list), {}
    for s in statements:
        exact = (s.mid, s.req) if s.mid and (s.req or not needs_request) else None
        index = by_request.get(exact)
        if index is None:
            index = next((i for i in by_message[s.mid] if s.mid and (s.side or kept[i].side)), None)
        if index is None:
            index = len(kept)
            kept.append(s)
            by_message[s.mid].append(index)
        else:
            old = kept[index]
            if old.side if s.side != old.side else total(s) > total(old):
                kept[index] = s
        if exact:
            by_request.setdefault(exact, index)
    return kept


def marginal(statement):
    """Nano-USD where only the part of each kind above the threshold takes the long-context price, by prices of today."""
    row = oracle.price_row(statement.model, 1 << 60)
    if statement.logged or row is None:
        return statement.logged
    use, hour = statement.use, statement.use["cache_create_1h_tokens"]
    counts = {
        "in": use["input_tokens"],
        "out": use["output_tokens"],
        "read": use["cache_read_tokens"],
        "w1h": hour,
        "w5m": use["cache_create_tokens"] - hour,
    }
    pico = 0
    for kind, count in counts.items():
        above = max(0, count - 200_000) if row.long else 0
        pico += (count - above) * row.base[kind] + above * (row.long or row.base)[kind]
    return pico / 1000


def as_rows(statements):
    return [changed(s, cost=s.logged or oracle.price(s.model, s.ts, s.use, s.geo, s.is_sum)) for s in statements]


def steps_of_claude(home, report):
    """From our rules to theirs: the name of each rule, and what is counted once it is theirs, too."""
    yield UNEXPLAINED, counted_of_claude(home)
    statements = calls_of_claude(home)
    if report != "daily":
        statements = [s for s in statements if s.kind != "progress"]
        groups = collections.defaultdict(list)
        for s in statements:
            groups[s.key].append(s)
        yield "calls told of by progress lines only are left out", [oracle.merge(g) for g in groups.values()]
    statements = kept_by_ccusage(statements, needs_request=report == "daily")
    rows = as_rows(statements)
    yield "copies are known by message and request together", rows
    rows = [changed(row, cost=marginal(s)) for row, s in zip(rows, statements)]
    yield "long-context prices above the threshold only; no old prices", rows
    rows = [changed(row, session=s.of_file) for row, s in zip(rows, statements)]
    yield "a session is a file, whatever its lines say", rows


# ---- Codex as ccusage counts it


def steps_of_codex(home):
    """As of Claude Code."""
    yield UNEXPLAINED, [row for row in oracle.codex(home) if row.role == "assistant"]
    threads = {}
    for place in ("archived_sessions", "sessions"):
        for path in oracle.walk(os.path.join(home, ".codex", place), lambda name: name.endswith(".jsonl")):
            with open(path, "rb") as file:
                lines = list(oracle.objects(file.read(), "codex"))
            thread = oracle.lineage(lines)
            if thread:
                threads[thread.id] = (lines, thread)
    foreign = {t.session for _, t in threads.values() if t.meta.get("model_provider") not in (None, "openai")}

    def counted(by_last):
        rows = []
        for lines, thread in threads.values():
            rows += token_counts(lines, thread, threads.get(thread.parent), by_last)
        return [changed(row, cost=None if row.session in foreign else price(row, row.model)) for row in rows]

    yield "history counts again if line 1 does not say that it is copied", counted(by_last=False)
    rows = counted(by_last=True)
    yield "the last usage counts, not the growth of the total", rows
    rows = [changed(row, model="gpt-5", cost=price(row, "gpt-5")) if row.model == "unknown" else row for row in rows]
    yield "a call whose model is not logged is one of gpt-5", rows
    for model, other in LOOKS_LIKE.items():
        rows = [changed(row, cost=price(row, other)) if row.model == model else row for row in rows]
        yield f"{model} is charged like {other}", rows


# What ccusage charges for models that the price book leaves open.
LOOKS_LIKE = {"gpt-5.3-codex-spark": "gpt-5.3-codex", "aide-gpt-5": "gpt-5"}


def price(row, model):
    return oracle.price(model, row.ts, row.use, is_sum=row.is_sum)


def token_counts(lines, thread, parent, by_last):
    """The calls that the token counts of one file tell of."""
    model, before, rows = "unknown", None, []
    named = thread.sub or any(thread.meta.get(name) for name in ("forked_from_id", "parent_thread_id"))
    copies = set(oracle.series_of(parent[0])) if parent and named else set()
    for o, _ in lines:
        p = oracle.obj(o.get("payload"))
        if o.get("type") == "turn_context":
            model = oracle.text(p.get("model")) or model
        now = oracle.total_of(o)
        if now is None or now == before:
            continue
        last = oracle.five(oracle.obj(p.get("info")).get("last_token_usage"))
        grown = before is not None and all(a >= b for a, b in zip(now, before))
        step = tuple(a - b for a, b in zip(now, before)) if grown and not by_last else last
        before = now
        if step and any(step) and now not in copies:
            use = oracle.codex_usage(step, None)
            is_sum = not (last and all(a <= b for a, b in zip(step, last)))
            ts = oracle.ts_ms(o["timestamp"])
            rows.append(NS(ts=ts, model=model, session=thread.session, use=use, is_sum=is_sum))
    return rows


# ---- the programs


class Tallyd:
    def __init__(self, program, home, zone):
        self.program = program
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(home), "TZ": zone}

    def run(self, *command):
        done = subprocess.run([self.program, *command], env=self.environment, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"tallyd {command[0]} ended with {done.returncode}: {done.stderr.strip()[-300:]}")
        return done.stdout

    def ask(self, *command):
        return json.loads(self.run(*command))


class Ccusage:
    def __init__(self, folder, home, version, zone):
        self.version = version
        peers.with_node(f"ccusage@{version}")(folder)
        self.command = [peers.node(folder), folder / "node_modules/ccusage/src/cli.js"]
        self.home, self.zone = home, zone
        self.offline = ["unshare", "--map-root-user", "--net"]
        if subprocess.run([*self.offline, "true"], capture_output=True).returncode:
            print("ccusage is run with a network: unshare does not work here")
            self.offline = []

    def ask(self, *report):
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "CLAUDE_CONFIG_DIR": f"{self.home}/.claude",
            "CODEX_HOME": f"{self.home}/.codex",
            "TZ": self.zone,
            "NO_COLOR": "1",
        }
        command = [*self.offline, *self.command, *report, "--json", "--offline", "--timezone", self.zone]
        if report[-1] == "blocks":
            command = command[:-2]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment)
        if done.returncode:
            sys.exit(f"ccusage {' '.join(report)} ended with {done.returncode}: {done.stderr.strip()[-300:]}")
        return json.loads(done.stdout)


def figures(entry):
    """The figures of a row in any of its reports."""
    counts = entry.get("tokenCounts", entry)
    first = lambda of, *names: next((of[name] for name in names if name in of), 0)
    return (
        counts["inputTokens"],
        counts["outputTokens"],
        first(counts, "cacheReadTokens", "cacheReadInputTokens", "cachedInputTokens"),
        first(counts, "cacheCreationTokens", "cacheCreationInputTokens"),
        round(first(entry, "totalCost", "costUSD", "cost") * 1e9),
    )


def by_model(entries):
    """Of Codex it gives no cost by model."""
    sums = collections.defaultdict(lambda: NOTHING)
    for entry in entries:
        named = [(m["modelName"], m) for m in entry.get("modelBreakdowns", [])] or list(entry.get("models", {}).items())
        for model, row in named:
            sums[model] = added(sums[model], figures(row))
    return dict(sums)


# ---- the tables

WIDTHS = (62, 14, 13, 16, 14, 16, 16)


def cells(name, *values):
    print("".join([name.ljust(WIDTHS[0]), *(value.rjust(width) for value, width in zip(values, WIDTHS[1:]))]))


def line(name, figure, sign=""):
    *tokens, cost = figure
    cells(name, *(f"{count:{sign},d}" for count in (*tokens, sum(tokens))), f"{cost / 1e9:{sign},.6f}")


def explain(title, ours, theirs, steps):
    """The table of one report; whether nothing is left unexplained."""
    print()
    cells(title, *KINDS, "tokens", "cost USD")
    line("ccusage", theirs)
    line("tallyd", ours)
    line("difference", taken(theirs, ours), "+")
    before = ours
    for rule, rows in steps:
        now = added(*map(of_row, rows))
        if now != before:
            line("  " + rule, taken(now, before), "+")
        before = now
    line("  unexplained", taken(theirs, before), "+")
    return is_same(theirs, before, len(rows))


def explain_groups(what, theirs, rows, by, costs=True):
    """Whether the last of the rules give ccusage's figures in every group, too."""
    counts, ours = collections.Counter(map(by, rows)), grouped(rows, by)
    names = sorted(set(ours) | {name for name, figure in theirs.items() if any(figure)})
    wrong = []
    for name in names:
        a, b = theirs.get(name, NOTHING), ours.get(name, NOTHING)
        if not is_same(a, b if costs else (*b[:4], a[4]), counts[name] + 1):
            wrong.append(f"    {name}: ccusage {a}, by its rules {b}")
    print("\n".join([f"  by {what}: {len(names) - len(wrong)} of {len(names)} as ccusage's rules give", *wrong]))
    return not wrong


def compare_claude(home, tallyd, ccusage, day):
    ours = list(of_tallyd(home, "claude-code"))
    sound = grouped(ours, lambda row: (row.day, row.model, row.session)) == grouped(
        counted_of_claude(home), lambda row: (day(row), row.model, row.session)
    )
    print(f"Claude Code: the independent count is {'' if sound else 'NOT '}tallyd's by day, model and session")
    for report in ("daily", "weekly", "monthly", "session", "blocks"):
        said = ccusage.ask("claude", report)
        entries = said.get(report) or said.get(report + "s") or []
        steps = list(steps_of_claude(home, report))
        sound &= explain(f"Claude Code, {report}", added(*map(of_row, ours)), added(*map(figures, entries)), steps)
        rows = steps[-1][1]
        if report == "daily":
            sound &= explain_groups("day", {e["date"]: figures(e) for e in entries}, rows, day)
            sound &= explain_groups("model", by_model(entries), rows, lambda row: row.model)
        if report == "blocks":
            windows = {entry["startTime"]: figures(entry) for entry in entries if not entry["isGap"]}
            said = tallyd.ask("report", "blocks", "--since", "2000-01-01", "--json")
            starts = sorted(row["start_ts"] for row in said["rows"])
            print(f"  tallyd's {len(starts)} windows {'' if starts == sorted(windows) else 'do NOT '}start when ccusage's do")
            window = lambda row: starts[bisect.bisect(starts, utc(row.ts)) - 1]
            sound &= explain_groups("window", windows, rows, window)
        if report == "session":
            sessions = collections.defaultdict(lambda: NOTHING)
            for entry in entries:
                sessions[entry["sessionId"]] = added(sessions[entry["sessionId"]], figures(entry))
            sound &= explain_groups("session", sessions, rows, lambda row: row.session)
    return sound


def compare_codex(home, ccusage, day):
    ours, steps = list(of_tallyd(home, "codex")), list(steps_of_codex(home))
    sound = grouped(ours, lambda row: (row.day, row.model, row.session)) == grouped(
        steps[0][1], lambda row: (day(row), row.model, row.session)
    )
    print(f"\nCodex: the independent count is {'' if sound else 'NOT '}tallyd's by day, model and session")
    entries, rows = ccusage.ask("codex", "daily")["daily"], steps[-1][1]
    sound &= explain("Codex, daily", added(*map(of_row, ours)), added(*map(figures, entries)), steps)
    sound &= explain_groups("day", {e["date"]: figures(e) for e in entries}, rows, day)
    sound &= explain_groups("model", by_model(entries), rows, lambda row: row.model, costs=False)
    # Its name ends with the thread's id.
    sessions = {e["sessionId"][-36:]: figures(e) for e in ccusage.ask("codex", "session")["sessions"]}
    return sound & explain_groups("session", sessions, rows, lambda row: row.session)


def compare_others(home, ccusage):
    """Other agents that both programs read: totals only."""
    sound = True
    for name, provider in OTHERS.items():
        rows = list(of_tallyd(home, provider))
        if not rows:
            continue
        ours, steps = added(*map(of_row, rows)), []
        if provider in ("opencode", "gemini-cli"):
            rows = [changed(row, use=row.use | {"output_tokens": row.use["output_tokens"] - row.reasoning}) for row in rows]
            steps.append(("reasoning is in their total, but not in their output", rows))
        for model, other in LOOKS_LIKE.items():
            rows = [changed(row, cost=price(row, other)) if row.cost is None and row.model == model else row for row in rows]
            steps.append((f"{model} is charged like {other}", rows))
        theirs = added(*map(figures, ccusage.ask(name, "daily")["daily"]))
        sound &= explain(f"{name}, daily", ours, theirs, steps)
    return sound


OTHERS = {"opencode": "opencode", "copilot": "github-copilot", "gemini": "gemini-cli", "pi": "pi"}


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("logs", type=Path)
    options.add_argument("--tallyd", type=Path, default=REPOSITORY / "target/release/tallyd")
    options.add_argument("--zone", default="UTC", help="time zone of days")
    options.add_argument("--ccusage", default="20.0.24", help="its version")
    options = options.parse_args()
    zone = ZoneInfo(options.zone)
    day = lambda row: datetime.fromtimestamp(row.ts / 1000, zone).date().isoformat()
    # Whoever stops this leaves no scratch folder behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="tallyd-accuracy-") as scratch:
        home = Path(scratch, "home")
        merged(options.logs.resolve(), home)
        tallyd = Tallyd(options.tallyd.resolve(), home, options.zone)
        tallyd.run("backfill")
        tallyd.run("check")
        ccusage = Ccusage(Path(scratch), home, options.ccusage, options.zone)
        sound = True
        # It refuses to count an agent that has no folder.
        if (home / ".claude/projects").is_dir():
            sound &= compare_claude(home, tallyd, ccusage, day)
        if (home / ".codex").is_dir():
            sound &= compare_codex(home, ccusage, day)
        sound &= compare_others(home, ccusage)
    print("\nevery difference is explained" if sound else "\nNOT every difference is explained")
    sys.exit(0 if sound else 1)


if __name__ == "__main__":
    main()
