#!/usr/bin/env python3
"""Runs other programs that count the same logs, and tallyd, over a copy of one home folder.

    bench/peers.py CORPUS [--repeats 3] [--only NAME,..] [--cargo] [--tallyd FILE]

CORPUS is a home folder with logs of agents, or a folder that holds one as `home` and perhaps the
right totals as `truth.json`. Each program is installed in a pinned version into a scratch folder,
which is removed at the end, and run there without a network where the system allows that: first
without anything it may have kept, then again. One that cannot be installed or run is reported and
left out. Rounds go through all programs in turn, so that what else the machine does hits all alike.

First and again are wall time until the totals are known: medians, with least and most. `x` is how
many times as long as tallyd's. RAM is the peak of the largest process; no figure is below the 20 MB
that this script takes itself. Where the right totals are known, theirs are given as the difference,
and below the table which known mistake, if any, gives exactly the same.
"""

import argparse
import json
import os
import platform
import pty
import re
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Optional

REPOSITORY = Path(__file__).resolve().parent.parent
DEADLINE_S = 1800


class Failed(Exception):
    """A program could not be installed or run; the text says why."""


@dataclass
class Totals:
    tokens: Optional[int] = None
    output: Optional[int] = None
    cost: Optional[float] = None


@dataclass
class Program:
    name: str
    # Puts it into a folder.
    install: Callable[[Path], None]
    # What is run there, one after the other; all of it is on the clock.
    commands: Callable[[Path], list]
    # From the output of the last command and the home folder.
    totals: Callable[[str, Path], Totals]
    # It has shown all when it writes this, and then waits to be ended.
    until: Optional[str] = None
    # What it wants to be typed at a terminal.
    typed: str = ""
    # The totals are asked for afterwards, on the clock, too.
    asked: bool = False
    # It reads no other agent, or one at a time: it is held to the totals of Claude Code.
    claude_alone: bool = False
    note: str = ""
    first: list = field(default_factory=list)
    again: list = field(default_factory=list)
    peak: int = 0
    found: Optional[Totals] = None
    failure: str = ""


# ---- how they are installed


def install(*command, **more):
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", **more)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "rror" in line] or ["no reason given"]
        raise Failed(f"cannot be installed: {lines[0].strip()[:160]}")


def npm(*packages):
    def into(folder):
        install("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", folder, *packages)

    return into


def pip(*packages):
    def into(folder):
        install(sys.executable, "-m", "venv", folder)
        install(folder / "bin/pip", "install", "--quiet", *packages)

    return into


def cargo(package, version):
    def into(folder):
        more = {"env": os.environ | {"CARGO_TARGET_DIR": str(folder / "target")}}
        install("cargo", "install", "--quiet", "--locked", "--root", folder, "--version", version, package, **more)
        shutil.rmtree(folder / "target", ignore_errors=True)

    return into


NODE = "node-{}-{}".format(
    sys.platform, {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
)


def node(folder):
    return folder / "node_modules" / NODE / "bin/node"


def with_node(*packages):
    """One of them wants a newer Node than most systems have; all get the same."""
    return npm(f"{NODE}@22.23.3", *packages)


# ---- what they say


def of_ccusage(output, _home):
    totals = json.loads(output)["totals"]
    return Totals(totals["totalTokens"], totals["outputTokens"], totals["totalCost"])


# Its own command needs another runtime; this is the library that it calls, which knows no prices
# without a network.
TOKSCALE = """
const { parseLocalSources } = require("@tokscale/core");
const sums = { tokens: 0, output: 0 };
for (const m of parseLocalSources({ homeDir: process.env.HOME, sources: ["claude", "codex"] }).messages) {
    sums.tokens += m.input + m.output + m.cacheRead + m.cacheWrite + m.reasoning;
    sums.output += m.output + m.reasoning;
}
console.log(JSON.stringify(sums));
"""


def of_tokscale(output, _home):
    return Totals(**json.loads(output))


def of_codeburn(output, _home):
    overview = json.loads(output)["overview"]
    return Totals(sum(overview["tokens"].values()), overview["tokens"]["output"], overview["cost"])


def of_claude_monitor(output, _home):
    tokens = re.search(r"Total Tokens: ([\d,]+)", output)
    cost = re.search(r"Total Cost: \$([\d,.]+)", output)
    number = lambda found: found.group(1).replace(",", "")
    return Totals(int(number(tokens)), None, float(number(cost)))


def of_agentsview(output, _home):
    totals = json.loads(output[output.index("{") :])["totals"]
    counts = [n for name, n in totals.items() if name.endswith("Tokens")]
    return Totals(sum(counts), totals["outputTokens"], totals["totalCost"]["microdollars"] / 1e6)


def of_tallyd(_output, home):
    sums = """SELECT sum(input_tokens + output_tokens + cache_read_tokens + cache_create_tokens),
        sum(output_tokens), sum(cost_nanousd) / 1e9 FROM daily_mart"""
    return Totals(*row_of(f"{home}/.local/share/tallyd/tallyd.db", sums))


def row_of(database, query):
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as database:
        return database.execute(query).fetchone()


def programs(tallyd):
    module = lambda folder, path: [node(folder), folder / "node_modules" / path]
    return [
        Program(
            "tallyd",
            lambda _folder: None,
            lambda _folder: [[tallyd, "backfill", "--json"]],
            of_tallyd,
            asked=True,
            note="backfill, then the totals of a mart from its database",
        ),
        Program(
            "ccusage 20.0.24",
            with_node("ccusage@20.0.24"),
            lambda folder: [[*module(folder, "ccusage/src/cli.js"), "daily", "--json", "--offline"]],
            of_ccusage,
        ),
        Program(
            "tokscale 1.4.3",
            with_node("@tokscale/core@1.4.3"),
            lambda folder: [[node(folder), "-e", TOKSCALE]],
            of_tokscale,
            note="its library, without prices",
        ),
        Program(
            "codeburn 0.9.15",
            with_node("codeburn@0.9.15"),
            lambda folder: [
                [*module(folder, "codeburn/dist/cli.js"), "report", "--from", "2020-01-01", "--format", "json"]
            ],
            of_codeburn,
        ),
        Program(
            "toktrack 0.1.51",
            with_node("toktrack@0.1.51"),
            lambda folder: [[folder / "node_modules/.bin/toktrack", "daily", "--json"]],
            lambda _output, _home: Totals(),
            note="its totals are not read",
        ),
        Program(
            "claude-monitor 4.0.0",
            pip("claude-monitor==4.0.0"),
            lambda folder: [[folder / "bin/claude-monitor", "--view", "daily", "--timezone", "UTC"]],
            of_claude_monitor,
            until="Press Ctrl+C",
            claude_alone=True,
            note="cuts its output tokens off",
        ),
        Program(
            "agentsview 0.46.1",
            pip("agentsview==0.46.1"),
            lambda folder: [
                [folder / "bin/agentsview", "sync"],
                [folder / "bin/agentsview", "usage", "daily", "--all", "--json", "--offline", "--no-sync"],
            ],
            of_agentsview,
            note="stores sessions and texts, too",
        ),
    ]


def of_agentusage(_output, home):
    sums = "SELECT sum(total_tokens), sum(output_tokens), sum(cost_usd) FROM agentusage_usage_events"
    return Totals(*row_of(f"{home}/.local/state/agentusage/claude_code.db", sums))


def of_cc_token_usage(output, _home):
    found = json.loads(output)
    output_tokens = found["total_output_tokens"]
    return Totals(found["total_context_tokens"] + output_tokens, output_tokens, found["total_cost"])


def compiled():
    return [
        Program(
            "agentusage 1.7.0",
            cargo("agentusage", "1.7.0"),
            lambda folder: [
                [folder / "bin/agentusage", "sync", "claude_code"],
                [folder / "bin/agentusage", "yearly", "--provider", "claude_code"],
            ],
            of_agentusage,
            typed="s\n",
            claude_alone=True,
        ),
        Program(
            "cc-token-usage 3.1.1",
            cargo("cc-token-usage", "3.1.1"),
            lambda folder: [[folder / "bin/cc-token-usage", "--format", "json", "overview"]],
            of_cc_token_usage,
            claude_alone=True,
        ),
    ]


# ---- how they are run


class Machine:
    """A copy of the corpus that programs are let loose on."""

    def __init__(self, corpus, scratch):
        self.corpus = corpus
        self.home = scratch / "home"
        self.offline = ["unshare", "--map-root-user", "--net"]
        if subprocess.run([*self.offline, "true"], capture_output=True).returncode:
            print("programs are run with a network: unshare does not work here")
            self.offline = []
        self.copy()

    def copy(self):
        shutil.rmtree(self.home, ignore_errors=True)
        shutil.copytree(self.corpus, self.home, symlinks=True)
        self.logs = self.listing()

    def listing(self):
        """All that came from the corpus, to tell whether a program has changed it."""
        tops = [self.home / top for top in os.listdir(self.corpus)]
        files = [file for top in tops for file in (top.rglob("*") if top.is_dir() else [top])]
        return {file: (file.lstat().st_size, file.lstat().st_mtime_ns) for file in files if not file.is_dir()}

    def clean(self):
        """Removes what programs have left in the home folder."""
        if self.listing() != self.logs:
            print("a program has changed the logs: they are copied again")
            return self.copy()
        for name in set(os.listdir(self.home)) - set(os.listdir(self.corpus)):
            path = self.home / name
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def environment(self):
        home = str(self.home)
        return {
            "PATH": os.environ["PATH"],
            "HOME": home,
            "XDG_CONFIG_HOME": f"{home}/.config",
            "XDG_DATA_HOME": f"{home}/.local/share",
            "XDG_STATE_HOME": f"{home}/.local/state",
            "XDG_CACHE_HOME": f"{home}/.cache",
            "CLAUDE_CONFIG_DIR": f"{home}/.claude",
            "CODEX_HOME": f"{home}/.codex",
            "AGENTSVIEW_NO_DAEMON": "1",
            "LANG": "C.UTF-8",
            "NO_COLOR": "1",
            "PYTHONUNBUFFERED": "1",
            "TZ": "UTC",
        }

    def run(self, program, folder):
        """Seconds, the largest peak of memory in KiB, and the totals."""
        seconds, peak, output = 0.0, 0, ""
        for command in program.commands(folder):
            took, used, output = self.once([*self.offline, *map(str, command)], folder, program)
            seconds, peak = seconds + took, max(peak, used)
        started = time.perf_counter()
        totals = program.totals(output, self.home)
        if program.asked:
            seconds += time.perf_counter() - started
        return seconds, peak, totals

    def once(self, command, folder, program):
        until = program.until
        terminal, stdin = pty.openpty()
        os.write(terminal, program.typed.encode())
        with tempfile.TemporaryFile() as errors, open(terminal), open(stdin) as stdin:
            started = time.perf_counter()
            child = subprocess.Popen(
                command,
                cwd=folder,
                env=self.environment(),
                stdin=stdin if program.typed else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            deadline = threading.Timer(DEADLINE_S, os.killpg, (child.pid, signal.SIGKILL))
            deadline.start()
            try:
                output, ended = [], None
                for line in child.stdout:
                    output.append(line)
                    if until and not ended and until in line:
                        ended = time.perf_counter()
                        os.killpg(child.pid, signal.SIGTERM)
                _, status, usage = os.wait4(child.pid, 0)
                ended = ended or time.perf_counter()
                child.returncode = os.waitstatus_to_exitcode(status)
            finally:
                deadline.cancel()
                if child.returncode is None:
                    os.killpg(child.pid, signal.SIGKILL)
            if child.returncode and not until:
                errors.seek(0)
                said = (errors.read().decode(errors="replace") or "".join(output)).strip().splitlines()
                raise Failed(f"ended with {child.returncode}: {said[-1][:160] if said else 'without a word'}")
        peak = usage.ru_maxrss // (1024 if sys.platform == "darwin" else 1)
        return ended - started, peak, "".join(output)


# ---- what is right


def truths(file, claude_alone):
    """The right totals, and by name what common mistakes with Claude Code make of them."""
    truth = json.loads(file.read_text()) if file.is_file() else {}
    ways = truth.get("claude", {}).items()
    claude = {name: sums for name, sums in ways if isinstance(sums, dict) and "total_tokens" in sums}
    codex = {} if claude_alone else truth.get("codex", {})
    more = codex.get("true", {"total_tokens": 0, "output_incl_reasoning": 0})

    def totals(sums, cost):
        return Totals(
            sums["total_tokens"] + more["total_tokens"],
            sums["output"] + more["output_incl_reasoning"],
            sums[cost] + codex.get("cost_usd", 0),
        )

    none = {"total_tokens": 0, "output": 0, "cost_usd": 0}
    right = totals(claude.get("true_unique_message_final_usage", none), "cost_usd") if truth else None
    mistakes = {way: (totals(sums, "cost_usd"), totals(sums, "cost_flat_5m_usd")) for way, sums in claude.items()}
    return right, mistakes


def is_same(value, right):
    """Counts are equal or not; costs may be rounded on their way."""
    return abs(value - right) <= 1e-5 * right if isinstance(value, float) else value == right


def explain(found, right, mistakes):
    """Which of the known ways of counting gives exactly these totals."""

    def first(name, matches):
        return f"{name} {matches[0]}" if matches else f"its {name} are those of no known way"

    known = {"right": (right, right)} | mistakes
    counts = [
        way for way, (sums, _) in known.items() if found.tokens == sums.tokens and found.output in (None, sums.output)
    ]
    costs = [
        way + how
        for way, pair in known.items()
        for sums, how in zip(pair, ("", ", all cache writes at the 5-minute price"))
        if is_same(found.cost, sums.cost)
    ]
    said = [first("tokens", counts)] + ([] if found.cost is None else [first("costs", costs)])
    return "; ".join(said)


# ---- the table


def spread(seconds):
    middle = statistics.median(seconds)
    return f"{middle:.3f} ({min(seconds):.3f}..{max(seconds):.3f})"


def ratio(seconds, base):
    return f"{statistics.median(seconds) / statistics.median(base):.2f}" if base else ""


def figure(value, right, form):
    if value is None:
        return "-"
    if not right:
        return format(value, form)
    return "exact" if is_same(value, right) else f"{100 * (value - right) / right:+.2f} %"


def table(ran, truth_file):
    base = ran[0] if ran[0].name == "tallyd" else None
    columns = lambda attribute: getattr(base, attribute) if base else None
    rows = [["program", "first s", "x", "again s", "x", "RAM MB", "tokens", "output", "cost"]]
    for program in ran:
        found, truth = program.found, truths(truth_file, program.claude_alone)[0] or Totals()
        rows.append(
            [
                program.name,
                spread(program.first),
                ratio(program.first, columns("first")),
                spread(program.again),
                ratio(program.again, columns("again")),
                f"{program.peak / 1024:.0f}",
                figure(found.tokens, truth.tokens, ",d"),
                figure(found.output, truth.output, ",d"),
                figure(found.cost, truth.cost, ",.2f"),
            ]
        )
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths)]
        print("  ".join([row[0].ljust(widths[0]), *cells[1:]]))


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("corpus", type=Path)
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--only", help="names that begin so, separated by commas")
    options.add_argument("--cargo", action="store_true", help="also those that are compiled, which takes minutes")
    options.add_argument("--tallyd", type=Path, default=REPOSITORY / "target/release/tallyd")
    options = options.parse_args()
    corpus = options.corpus.resolve()
    home = corpus / "home" if (corpus / "home").is_dir() else corpus
    chosen = programs(options.tallyd.resolve()) + (compiled() if options.cargo else [])
    if options.only:
        chosen = [program for program in chosen if program.name.startswith(tuple(options.only.split(",")))]
    # Whoever stops this leaves no scratch folder behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="tallyd-peers-") as scratch:
        measure(chosen, home, Path(scratch), options.repeats)
    ran = [program for program in chosen if not program.failure]
    for program in chosen:
        if program.failure:
            print(f"left out: {program.name} {program.failure}")
    if not ran:
        sys.exit("nothing could be run")
    print(f"\n{options.repeats} rounds, load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    table(ran, corpus / "truth.json")
    print()
    for program in ran:
        right, mistakes = truths(corpus / "truth.json", program.claude_alone)
        said = ["of Claude Code alone"] if program.claude_alone else []
        said += [program.note] if program.note else []
        said += [explain(program.found, right, mistakes)] if right and program.found.tokens is not None else []
        print(f"{program.name}: {'; '.join(said)}")


def measure(chosen, home, scratch, repeats):
    machine = Machine(home, scratch)
    for program in chosen:
        folder = scratch / program.name.replace(" ", "-")
        folder.mkdir()
        try:
            program.install(folder)
        except (Failed, OSError) as error:
            program.failure = str(error)
    for turn in range(repeats):
        for program in chosen:
            if program.failure:
                continue
            folder = scratch / program.name.replace(" ", "-")
            machine.clean()
            try:
                first, peak, found = machine.run(program, folder)
                again, more, then = machine.run(program, folder)
            except (Failed, OSError, ValueError, LookupError, AttributeError, TypeError, sqlite3.Error) as error:
                program.failure = str(error) if isinstance(error, Failed) else f"gave no totals: {error!r}"
                continue
            program.first.append(first)
            program.again.append(again)
            program.peak = max(program.peak, peak, more)
            program.found = found
            if found != then:
                program.note = f"{program.note}; the second run gave {then}".lstrip("; ")
            print(f"round {turn + 1}: {program.name} {first:.3f} s, again {again:.3f} s", flush=True)


if __name__ == "__main__":
    main()
