#!/usr/bin/env python3
"""Independent check: what the totals of a home directory must be.

    python3 tests/oracle.py HOME [--json] [--stats]   totals of HOME (table, or everything as JSON)
    python3 tests/oracle.py --self-test               test vectors and edge cases of the sheets

Written straight from the provider sheets (Claude Code = "CC", Codex = "CX", OpenCode = "OC", GitHub
Copilot = "GH", Gemini CLI = "GE", Cline = "CL", Pi = "PI", pricing = "PR"; the numbers in comments are
their sections and rules). Calls of Claude Code and Codex are priced; of the other agents only the costs they
recorded themselves are added up. It shares no code with the program it checks, keeps
everything in memory and reads whole files: clarity first. A choice the sheets leave open says CHOICE.
"""
import argparse, collections, contextlib, glob, hashlib, json, os, re, shutil, sqlite3, sys, tempfile
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace as NS

STATS = collections.Counter()
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
TOKENS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_create_tokens",
          "cache_create_1h_tokens", "reasoning_tokens", "web_search_requests")

# ------------------------------------------------------------------------------------ prices (PR 5)
# Anthropic: models | first day | in out w5m w1h read | long: N in out w5m w1h read | fast | us
# Where the long tier ended (4.6, 2026-03-13) the model has two rows.
ANTHROPIC = """
claude-3-haiku                              |            | .25 1.25 .3 .5 .03 |                       |   |
claude-3-5-haiku                            |            | .8 4 1 1.6 .08     |                       |   |
claude-3-5-sonnet claude-3-7-sonnet         |            | 3 15 3.75 6 .3     |                       |   |
claude-sonnet-4 claude-sonnet-4-5           |            | 3 15 3.75 6 .3     | 200 6 22.5 7.5 12 .6  |   |
claude-3-opus claude-opus-4 claude-opus-4-1 |            | 15 75 18.75 30 1.5 |                       |   |
claude-sonnet-4-6                           |            | 3 15 3.75 6 .3     | 200 6 22.5 7.5 12 .6  |   | us
claude-sonnet-4-6                           | 2026-03-13 | 3 15 3.75 6 .3     |                       |   | us
claude-opus-4-5                             |            | 5 25 6.25 10 .5    |                       |   |
claude-opus-4-6                             |            | 5 25 6.25 10 .5    | 200 10 37.5 12.5 20 1 | 6 | us
claude-opus-4-6                             | 2026-03-13 | 5 25 6.25 10 .5    |                       | 6 | us
claude-opus-4-7                             |            | 5 25 6.25 10 .5    |                       | 6 | us
claude-opus-4-8 claude-opus-5               |            | 5 25 6.25 10 .5    |                       | 2 | us
claude-opus-5-5                             |            | 4 20 5 8 .2        |                       | 2 | us
claude-sonnet-5                             |            | 2 10 2.5 4 .2      |                       |   | us
claude-sonnet-5-5                           |            | 2 10 2.5 4 .1      |                       |   | us
claude-haiku-4-5                            |            | 1 5 1.25 2 .1      |                       |   |
claude-haiku-5-5                            |            | .1 .5 .125 .2 .01  | 100 .5 2.5 .625 1 .05 |   | us
claude-fable-5 claude-mythos-5              |            | 10 50 12.5 20 1    |                       |   | us
claude-fable-5-1 claude-mythos-5-1          |            | 10 50 12.5 20 .25  |                       |   | us
"""
# OpenAI: models | first day | in cached out [write] | long: same | tier prices, "xN" = factor on all
# CHOICE: gpt-5-codex has no row of its own, the alias gives it all prices of gpt-5, priority included.
OPENAI = """
gpt-5 gpt-5.1                   |            | 1.25 .125 10     |                | priority 2.5 .25 20; flex x1/2
gpt-5.1-codex gpt-5.1-codex-max |            | 1.25 .125 10     |                | flex x1/2
gpt-5-mini                      |            | .25 .025 2       |                | priority .45 .045 3.6
gpt-5.1-codex-mini              |            | .25 .025 2       |                |
gpt-5.2 gpt-5.3-codex           |            | 1.75 .175 14     |                | priority 3.5 .35 28
gpt-5.2-codex                   |            | 1.75 .175 14     |                |
gpt-5.4                         |            | 2.5 .25 15       | 5 .5 22.5      | priority 5 .5 30; flex 1.25 .13 7.5
gpt-5.4-mini                    |            | .75 .075 4.5     |                | priority 1.5 .15 9
gpt-5.5                         |            | 5 .5 30          | 10 1 45        | priority 12.5 1.25 75; flex 2.5 .25 15
gpt-5.6-sol                     |            | 5 .5 30 6.25     | 10 1 45 12.5   |
gpt-5.6-sol                     | 2026-08-21 | 4 .4 20 5        | 8 .8 30 10     | priority x2; flex x1/2
gpt-5.6-terra                   |            | 2.5 .25 15 3.125 | 5 .5 22.5 6.25 |
gpt-5.6-terra                   | 2026-07-30 | 2 .2 12 2.5      | 4 .4 18 5      | priority x2
gpt-5.6-luna                    |            | 1 .1 6 1.25      | 2 .2 9 2.5     |
gpt-5.6-luna                    | 2026-07-30 | .2 .02 1.2 .25   | .4 .04 1.8 .5  | priority x2
gpt-6-sol                       |            | 2 .2 10 2.5      | 4 .4 15 5      | priority x2
gpt-6-luna                      |            | .1 .01 .5 .125   | .2 .02 .75 .25 | priority x2
gpt-6-astra                     |            | 10 1 50 12.5     | 20 2 75 25     | priority x2; ultrafast x6
gpt-6.1-sol                     |            | 2 .1 10 2.5      | 4 .2 15 5      | priority x2; ultrafast x6
gpt-6.1-terra                   |            | 1 .05 5 1.25     | 2 .1 7.5 2.5   | priority x2
o3                              |            | 2 .5 8           |                |
o4-mini                         |            | 1.1 .275 4.4     |                |
codex-mini                      |            | 1.5 .375 6       |                |
"""
ALIASES = {"gpt-5.6": "gpt-5.6-sol", "gpt-5-codex": "gpt-5", "gpt-5.5-codex": "gpt-5.5",  # PR 3.2
           "claude-opus-4-0": "claude-opus-4"}
SEARCH_PICO = 10_000_000_000                                  # 0.01 USD per web search, Anthropic only


def build_book():
    pico = lambda s: int(Decimal(s) * 1_000_000)              # USD per million -> pico-USD per token
    day = lambda s: ts_ms(s + "T00:00:00Z") if s else -1 << 62

    def openai(s):                                            # no write price -> input price (CX 5)
        v = [pico(x) for x in s.split()]
        w = v[3] if len(v) > 3 else v[0]
        return dict(zip(("in", "read", "out", "w5m", "w1h"), v[:3] + [w, w]))

    book = collections.defaultdict(list)
    for line in ANTHROPIC.strip().splitlines():
        models, start, base, long, fast, us = (x.strip() for x in line.split("|"))
        names = ("in", "out", "w5m", "w1h", "read")
        row = NS(start=day(start), base=dict(zip(names, map(pico, base.split()))), above=None, long=None,
                 tiers={"batch": Fraction(1, 2)}, us=bool(us), search=SEARCH_PICO)
        if fast:
            row.tiers["fast"] = Fraction(fast)
        if long:
            n, *v = long.split()
            row.above, row.long = int(n) * 1000, dict(zip(names, map(pico, v)))
        for m in models.split():
            book[m].append(row)
    for line in OPENAI.strip().splitlines():
        models, start, base, long, tiers = (x.strip() for x in line.split("|"))
        row = NS(start=day(start), base=openai(base), above=272_000 if long else None,
                 long=openai(long) if long else None, tiers={}, us=False, search=0)
        for t in filter(None, tiers.split("; ")):
            name, rest = t.split(" ", 1)
            row.tiers["fast" if name == "priority" else name] = \
                Fraction(rest[1:]) if rest[0] == "x" else openai(rest)
        for m in models.split():
            book[m].append(row)
    return book                                               # rows of a model are in date order


def price_row(model, ts):
    """PR 3: name normalisation, first hit wins; the row in force at `ts`."""
    if model == "codex-auto-review":                          # CX 8: dated alias
        model = "gpt-5.4" if ts < ts_ms("2026-07-30T00:00:00Z") else "gpt-5.6-luna"
    for strip in ("^$",                                       # PR 3.1: as it is, then 3.3 to 3.6
                  r"\[1m\]$",
                  r"^(?:(?:us\.|eu\.|apac\.|global\.)?anthropic\.|vertex_ai/|anthropic/|openai/|openrouter/[^/]+/)",
                  r"-v\d+:\d+$",
                  r"(?:-\d{8}|@\d{8}|-\d{4}-\d\d-\d\d)$"):
        model = re.sub(strip, "", model)
        rows = BOOK.get(model) or BOOK.get(ALIASES.get(model))
        if rows:
            return ([r for r in rows if r.start <= ts] or rows[:1])[-1]
    return None


def half_up(num, den):
    return (2 * num + den) // (2 * den)


def price(model, ts, use, geo=None, is_sum=False):
    """Nano-USD of one call, or None. `use` holds the four disjoint counts, w1h, searches, speed. Of what may be
    the sum of several requests none is known to be long (PR 4: never compare a sum with the threshold)."""
    row = price_row(model, ts)
    if row is None:
        return None
    n = {"in": use["input_tokens"], "out": use["output_tokens"], "read": use["cache_read_tokens"],
         "w1h": use["cache_create_1h_tokens"],
         "w5m": use["cache_create_tokens"] - use["cache_create_1h_tokens"]}
    total_in = n["in"] + n["read"] + n["w5m"] + n["w1h"]
    p = row.long if row.above and total_in > row.above and not is_sum else row.base   # PR 4: cliff, strictly greater
    factor, tier = Fraction(1), row.tiers.get(use["speed"], Fraction(1))  # no such tier -> standard
    if isinstance(tier, Fraction):
        factor *= tier                                        # combines with the long prices
    else:
        p = tier                                              # explicit price, unchanged when long (PR 4)
    if geo == "us" and row.us:
        factor *= Fraction(11, 10)
    cost = factor * sum(n[k] * p[k] for k in n) + use["web_search_requests"] * row.search
    return half_up(cost.numerator, cost.denominator * 1000)   # pico -> nano, rounded once


# ------------------------------------------------------------------------------------- small helpers
def ts_ms(v):
    """RFC 3339 text (or epoch ms, CX 2) -> UTC ms, None if it is neither."""
    if isinstance(v, (int, float)) and not isinstance(v, bool):
        return int(v) if 0 <= v < 253_402_300_800_000 else None           # until the year 9999
    try:
        t = datetime.fromisoformat(v)
    except (TypeError, ValueError):
        return None
    return ((t if t.tzinfo else t.replace(tzinfo=timezone.utc)) - EPOCH) // timedelta(milliseconds=1)


class BadCount(Exception):
    """A count that is no whole number of 64 bits: what it belongs to is not counted."""


def count(v, limit=10**9):
    """A token count: missing or null = 0 (CC 2); negative or absurd -> 0 (CC 3.7)."""
    if v is None:
        return 0
    if isinstance(v, float) and abs(v) < 9.2e18 and v.is_integer():
        v = int(v)
    if not isinstance(v, int) or isinstance(v, bool) or not -2**63 <= v < 2**63:
        raise BadCount
    return v if 0 <= v <= limit else 0


def told(v):
    """A count that nothing is billed by: 0 if it is no count."""
    try:
        return count(v)
    except BadCount:
        return 0


def obj(v):
    return v if isinstance(v, dict) else {}


def text(v):
    return v if isinstance(v, str) else ""


def objects(data, where):
    """CC 3.1-3.2, CC 6: objects of JSONL bytes, as (object, identity of the line). A line is a stream of
    objects; an unterminated last line counts only if all of it is complete JSON."""
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    decoder = json.JSONDecoder(parse_constant=int)            # NaN and Infinity are no JSON: ValueError
    for nr, raw in enumerate(lines):
        line, pos, found = raw.decode("utf-8", "replace").strip(), 0, []
        try:
            while pos < len(line):
                value, pos = decoder.raw_decode(line, pos)
                found.append(value)
                pos += len(line[pos:]) - len(line[pos:].lstrip())
        except (ValueError, RecursionError):
            STATS[where, "cut tail" if nr == len(lines) - 1 else "bad line"] += 1
            if nr == len(lines) - 1:
                continue
        STATS[where, "glued lines"] += len(found) > 1
        STATS[where, "complete tail without newline"] += bool(found) and nr == len(lines) - 1
        for i, value in enumerate(found):
            if isinstance(value, dict):
                yield value, hashlib.sha256(raw + b"#%d" % i).hexdigest()
            else:
                STATS[where, "not an object"] += 1


def walk(root, accept):
    """Regular files below root, links not followed inside it, in a fixed order."""
    for folder, dirs, names in os.walk(os.path.realpath(root)):
        dirs.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)
            if accept(name) and os.path.isfile(path) and not os.path.islink(path):
                yield path


# ------------------------------------------------------------------------------------ merge (CC 4)
def usage_order(s):
    """CC 4 merge 1: greatest wins, as a whole record; then model, speed, split, the rest in fixed order."""
    u = s.use
    return (-s.rank, not s.side, u["output_tokens"], u["input_tokens"] + u["cache_create_tokens"] + u["cache_read_tokens"],
            s.model, u["speed"], u["cache_create_1h_tokens"], u["cache_create_tokens"], u["cache_read_tokens"],
            u["reasoning_tokens"], u["web_search_requests"], s.geo, s.logged or 0)


def merge(statements):
    """All statements of one key -> the row. Order of the list does not matter."""
    best = max(statements, key=usage_order)
    owner = min(statements, key=lambda s: (s.rank, s.side, s.born, s.session, s.cwd))
    row = NS(key=best.key, role=best.role, model=best.model, use=best.use, ts=min(s.ts for s in statements),
             session=owner.session, project=owner.project, cost=0, is_sum=best.is_sum)
    if best.role == "assistant":
        row.cost = best.logged
        if row.cost is None and best.priced:
            row.cost = price(best.model, row.ts, best.use, best.geo, best.is_sum)
    STATS["rank of stored usage", best.role, best.rank] += 1
    return row


def statement(key, role, session, project, cwd, ts, model="", use=None, **more):
    fields = dict(rank=0, born=0, geo="", logged=None, priced=True, side=False, mid=None, req=None, file=None,
                  kind=role, is_sum=False)
    return NS(key=key, role=role, session=session, project=project, cwd=cwd, ts=ts, model=model,
              use=use or dict.fromkeys(TOKENS, 0) | {"speed": "standard"}, **(fields | more))


# ------------------------------------------------------------------------------------------ Claude Code
def slug_of(path):
    """CC 1: every UTF-16 unit outside [A-Za-z0-9] -> '-'; over 200 units: cut and hashed."""
    raw = path.encode("utf-16-le", "surrogatepass")
    units = [raw[i] | raw[i + 1] << 8 for i in range(0, len(raw), 2)]
    slug = "".join(chr(u) if u < 128 and chr(u).isalnum() else "-" for u in units)
    if len(units) <= 200:
        return slug
    h = 0
    for u in units:                                           # the usual 31*h + c, 32 bits, signed
        h = (h * 31 + u) & 0xFFFFFFFF
    h, digits = abs(h - (1 << 32) if h >> 31 else h), ""
    while h or not digits:
        digits, h = "0123456789abcdefghijklmnopqrstuvwxyz"[h % 36] + digits, h // 36
    return slug[:200] + "-" + digits


def project_of(cwd, slug):
    """CC 1: ancestor-or-self of cwd whose slug is the folder name, else cwd; no cwd: the slug."""
    path = cwd
    while path:
        if slug_of(path) == slug:
            return path
        cut = max(path.rfind("/"), path.rfind("\\"))
        parent = path[:cut] if cut > 0 and path[cut - 1] != ":" else path[:cut + 1]   # keep "/" and "C:\"
        path = parent if parent != path else ""
    return cwd or "claude-code:" + slug


def claude_usage(u):
    five, hour = (count(obj(u.get("cache_creation")).get(f"ephemeral_{k}_input_tokens")) for k in ("5m", "1h"))
    written = max(count(u.get("cache_creation_input_tokens")), five + hour)             # CC 3.6
    out = count(u.get("output_tokens"))
    speed = "fast" if u.get("speed") == "fast" else "batch" if u.get("service_tier") == "batch" else "standard"
    return {"input_tokens": count(u.get("input_tokens")), "output_tokens": out,
            "cache_read_tokens": count(u.get("cache_read_input_tokens")),
            "cache_create_tokens": written, "cache_create_1h_tokens": min(hour, written),
            "reasoning_tokens": min(out, told(obj(u.get("output_tokens_details")).get("thinking_tokens"))),
            "web_search_requests": count(obj(u.get("server_tool_use")).get("web_search_requests")),
            "speed": speed}


def claude_key(mid, req, session, use, uuid, line_id):
    """CC 4 key."""
    if mid.startswith("msg_") and len(mid) >= 20:
        return f"claude:{mid}"
    if mid and req:
        return f"claude:{mid}:{req}"
    if re.match("chatcmpl-|gen-|resp_", mid) or len(mid) >= 24:
        return f"claude:{mid}"
    if mid:
        return "claude:%s:%s:%d:%d:%d" % (session, mid, use["input_tokens"], use["cache_create_tokens"],
                                          use["cache_read_tokens"])
    return f"claude:req:{req}" if req else f"claude:uuid:{uuid}" if uuid else f"claude:{line_id}"


def is_prompt(o):
    """CC 3, "Prompts". Text = the text blocks joined (CHOICE)."""
    content = obj(o.get("message")).get("content")
    if o.get("isMeta") or o.get("isSidechain") or o.get("isCompactSummary") or o.get("toolUseResult") is not None:
        return False
    blocks = [obj(b) for b in content] if isinstance(content, list) else []
    if any(b.get("type") == "tool_result" for b in blocks):
        return False
    said = [text(content)] + [text(b.get("text")) for b in blocks if b.get("type") == "text"]
    said = "\n".join(said).strip()
    return bool(said) and not said.startswith(
        ("<local-command-", "<task-notification", "<system-reminder", "[Request interrupted"))


def claude_file(path, slug, inner):
    """Statements of one transcript. `inner` = path below the slug folder."""
    stem = os.path.basename(path)[:-len(".jsonl")]
    parent = inner.split(os.sep)[0] if os.sep + "subagents" + os.sep in os.sep + inner else stem
    last_cwd, last_ts = "", None
    for o, line_id in objects(open(path, "rb").read(), "claude"):
        cwd = last_cwd = text(o.get("cwd")) or last_cwd                                 # CC 1
        here = ts_ms(text(o.get("timestamp")))
        last_ts = here if here is not None else last_ts                                 # CC 3.11
        mtime = os.stat(path).st_mtime_ns // 1_000_000
        fork = obj(o.get("forkedFrom"))
        # CC 3.9; a fork copy belongs to the session it was copied from (CC 4, end), in the weak key too
        session = text(fork.get("sessionId")) or text(o.get("sessionId")) or parent
        side = o.get("isSidechain") is True
        rank = 2 if side and stem.startswith("agent-aside_question-") else 1 if fork else 0
        who = dict(session=session, project=project_of(cwd, slug), cwd=cwd, rank=rank, side=side, file=path)

        if o.get("type") == "user" and is_prompt(o):
            tag = re.match(r"<[a-z-]+>|", text(obj(o["message"]).get("content"))).group()
            STATS["prompt", tag or "text"] += 1
            ts = here if here is not None else last_ts if last_ts is not None else mtime
            yield statement("claude:prompt:" + (text(o.get("uuid")) or line_id), "user", ts=ts, **who)
            continue

        # CC 2: the two records that carry billable usage
        data = obj(o.get("data"))
        if o.get("type") == "assistant":
            outer = o
        elif o.get("type") == "progress" and data.get("type") == "agent_progress":
            outer = obj(data.get("message"))
            got = ts_ms(text(outer.get("timestamp")))
            here = got if got is not None else here
        else:
            continue
        m = obj(outer.get("message"))
        u = m.get("usage")
        if not isinstance(u, dict):
            continue
        model = text(m.get("model"))
        flagged = any(r.get(k) is True for r in (o, outer) for k in ("isApiErrorMessage", "isVirtual"))
        if model in ("", "<synthetic>") or flagged:                                     # CC 3.4
            STATS["claude", "synthetic, api error or no model"] += 1
            continue
        iterations = u.get("iterations")
        iterations = [obj(i) for i in iterations] if isinstance(iterations, list) else []
        try:
            use = claude_usage(u)
        except BadCount:
            STATS["claude", "bad count"] += 1
            continue
        req = text(data.get("requestId")) or text(outer.get("requestId")) or text(o.get("requestId"))
        key = claude_key(text(m.get("id")), req, session, use, text(outer.get("uuid")), line_id)
        ts = here if here is not None else last_ts if last_ts is not None else mtime
        logged = nano(o.get("costUSD")) or None
        who |= dict(ts=ts, mid=text(m.get("id")), req=req, kind=o["type"])
        STATS["claude usage lines", o["type"], rank] += 1
        geo = text(u.get("inference_geo"))
        if any(use[k] for k in TOKENS):
            yield statement(key, "assistant", model=model, use=use, geo=geo, logged=logged, **who)
        elif not iterations:
            STATS["claude", "zero usage"] += 1                                          # CC 3.5
        seen = collections.Counter()
        for it in iterations:                                                           # CC 3.8
            kind = {"advisor_message": "advisor", "compaction": "compaction"}.get(text(it.get("type")))
            if not kind:
                continue
            seen[kind] += 1
            # CHOICE: speed, geo and service tier of the call unless the iteration states its own
            it = {k: u.get(k) for k in ("speed", "service_tier", "inference_geo")} | it
            try:
                iuse = claude_usage(it)
            except BadCount:
                continue
            imodel = text(it.get("model")) if kind == "advisor" else model
            if imodel and any(iuse[k] for k in TOKENS):
                yield statement(f"{key}:{kind}:{seen[kind] - 1}", "assistant", model=imodel, use=iuse,
                                geo=text(it.get("inference_geo")), **who)


def claude(home):
    roots = [os.path.join(home, ".claude"), os.path.join(home, ".config", "claude")]
    desktop = os.path.join(home, ".config", "Claude", "local-agent-mode-sessions")       # CC 1, Linux base
    roots += [f for f, _, _ in os.walk(desktop) if os.path.basename(f) == ".claude"]
    groups, done = collections.defaultdict(list), set()
    for root in roots:
        projects = os.path.realpath(os.path.join(root, "projects"))
        for path in walk(projects, lambda n: n.endswith(".jsonl")):
            slug, _, inner = os.path.relpath(path, projects).partition(os.sep)
            if path in done or (os.path.basename(path) == "journal.jsonl" and "subagents" in inner):
                continue                                      # CC 1: not a transcript
            done.add(path)
            for s in claude_file(path, slug, inner):
                groups[s.key].append(s)
    for group in groups.values():
        # CC 4 copy_rank 2: a sidechain line that restates, under another request, a message that the main
        # chain of another file has. (An agent's own file beside its agent_progress lines is no such copy.)
        mains = [s for s in group if s.kind == "assistant" and not s.side]
        for s in group:
            if s.side and s.rank == 0 and any(t.file != s.file and t.req != s.req for t in mains):
                s.rank = 2
    return [merge(g) for g in groups.values()]


# ------------------------------------------------------------------------------------------------ Codex
ZERO5 = (0, 0, 0, 0, 0)


def five(u, read=count, read_reasoning=told):
    """The 5 components (input, cached, cache_write, output, reasoning), None if there is no object."""
    if not isinstance(u, dict):
        return None
    first = lambda read, *names: next((read(u[n]) for n in names if u.get(n) is not None), 0)
    return (first(read, "input_tokens"),
            first(read, "cached_input_tokens", "cache_read_input_tokens", "cached_tokens"),
            first(read, "cache_write_input_tokens"), first(read, "output_tokens"),
            first(read_reasoning, "reasoning_output_tokens", "reasoning_tokens"))


def running(u):
    """The same of running totals, which grow without limit; None too if one of them is no count."""
    whole = lambda v: count(v, 2**63)
    try:
        return five(u, whole, whole)
    except BadCount:
        return None


def codex_usage(c, tier):
    """CX 4.7: inclusive counts -> disjoint ones."""
    cached = min(c[1], c[0])
    write = min(c[2], c[0] - cached)
    return {"input_tokens": c[0] - cached - write, "output_tokens": c[3], "cache_read_tokens": cached,
            "cache_create_tokens": write, "cache_create_1h_tokens": 0, "reasoning_tokens": min(c[4], c[3]),
            "web_search_requests": 0, "speed": tier or "standard"}


def total_of(o):
    """Cumulative 5-tuple of a token_count line, else None."""
    p = obj(o.get("payload"))
    if o.get("type") == "event_msg" and p.get("type") == "token_count":
        return running(obj(p.get("info")).get("total_token_usage"))


def lineage(lines):
    """CX 4.2: identity and parent from the first session_meta."""
    metas = [obj(o.get("payload")) for o, _ in lines if o.get("type") == "session_meta"]
    if not metas or not text(metas[0].get("id")):
        return None
    m = metas[0]
    sub = obj(m.get("source")).get("subagent")
    parent = text(m.get("forked_from_id")) or text(m.get("parent_thread_id")) or \
        text(obj(obj(sub).get("thread_spawn")).get("parent_thread_id"))
    if not parent:
        # CHOICE: 0.36 wrote no lineage fields; a copied session_meta of another thread before the first
        # total says the same thing ("copies from a fork's ancestors", CX 1).
        for o, _ in lines:
            if total_of(o):
                break
            other = text(obj(o.get("payload")).get("id")) if o.get("type") == "session_meta" else ""
            if other and other != m["id"]:
                parent = other
                STATS["codex", "parent known only by a second session_meta"] += 1
                break
    return NS(id=m["id"], meta=m, parent=parent, sub=sub is not None, base=m.get("history_base") is not None,
              session=text(m.get("session_id")) or m["id"], created=ts_ms(m.get("timestamp")))


def series_of(lines):
    """A thread's token_count totals in order, consecutive equal ones collapsed (CX 4.3d)."""
    out = []
    for o, _ in lines:
        t = total_of(o)
        if t is not None and (not out or out[-1] != t):
            out.append(t)
    return out


def codex_file(lines, t, parent_series, mtime):
    """CX 4: statements of one rollout. parent_series is None if the parent's file is not there."""
    start = t.meta.get("subagent_history_start_ordinal")
    start = t.meta.get("forked_from_ordinal_exclusive") if start is None else start
    provider = t.meta.get("model_provider")
    foreign = isinstance(provider, str) and provider != "openai"       # CX 5: NULL; absent = openai
    s = NS(own=not t.parent or t.base, model="", tier=None, prev=None, cwd=text(t.meta.get("cwd")))
    rows, held, unmatched = [], [], []
    recent = last_l = task = None          # task = (index, state) at the last task_started while inherited
    seen_record = preserved = False
    last_ts = count_ts = None              # count_ts: time of the last token_count or session_meta (3e)
    pending = []                           # prompts since count_ts while inherited: copied, or the first own one
    pos = users = i = 0

    def emit(key, c, own_model, ts, is_sum=False):
        if not any(codex_usage(c, None)[k] for k in TOKENS):
            return None
        row = statement(key, "assistant", t.session, s.cwd or "codex:unknown", s.cwd, ts, side=t.sub,
                        model=own_model or s.model, use=codex_usage(c, s.tier), priced=not foreign, is_sum=is_sum)
        rows.append(row)
        if not row.model:
            held.append(row)                                                             # 8
        return row

    while i < len(lines):
        o, line_id = lines[i]
        p = obj(o.get("payload"))
        kind = p.get("type") if o.get("type") == "event_msg" else o.get("type")
        ts = ts_ms(o.get("timestamp"))
        last_ts = ts if ts is not None else last_ts
        now = last_ts if last_ts is not None else mtime                                  # 9
        count_ts = now if count_ts is None else count_ts
        info = obj(p.get("info"))
        T = total_of(o)

        if not s.own:                                                                    # 3
            ordinal = o.get("ordinal")
            if isinstance(start, int) and isinstance(ordinal, int):
                s.own = ordinal >= start                                                 # 3a
            elif kind == "token_usage_record" and p.get("thread_id") == t.id:
                s.own = True                                                             # 3b
            elif str(kind).startswith("inter_agent_communication") and p.get("trigger_turn") is True:
                if task:                                                                 # 3c: go back
                    i, s = task
                    task, o, kind, now, T = None, {}, None, now, None
                s.own = True
            elif parent_series is not None:
                if T is not None:                                                        # 3d
                    if T in parent_series[pos:]:
                        pos = parent_series.index(T, pos)
                    else:
                        s.own = True
            elif kind != "session_meta" and t.created is not None:                       # 3e
                if now < t.created:
                    preserved = True
                elif preserved or (T is not None and now - count_ts > 1000):
                    s.own = True
            if not s.own:
                STATS["codex", "inherited token_counts"] += T is not None
                s.prev = s.prev if T is None else T
                if kind == "task_started":
                    task = (i, NS(**vars(s)))
        if s.own and pending:
            # CHOICE: the prompt that opens the own part precedes the token_count that proves it. Copied
            # prompts stand within the burst of copied lines, or before the thread was created.
            rows += [row for row in pending if row.ts >= (t.created or 0) and row.ts - count_ts > 1000]
            pending.clear()
        if kind in ("token_count", "session_meta"):
            count_ts = now
            pending.clear()

        if kind == "turn_context":                                                       # 4, 8
            s.cwd = text(p.get("cwd")) or s.cwd
            s.model = text(p.get("model")) or s.model
            if s.model:
                for row in held:
                    row.model = s.model
                held.clear()
        elif kind == "thread_settings_applied" and "service_tier" in obj(p.get("thread_settings")):
            s.tier = {"priority": "fast", "fast": "fast", "ultrafast": "ultrafast", "flex": "flex"}.get(
                text(p["thread_settings"]["service_tier"]))                              # unknown = clear
        elif kind == "user_message":
            users += 1
            if not t.sub:
                ident = o.get("ordinal", users)
                (rows if s.own else pending).append(statement(f"codex:prompt:{t.id}:{ident}", "user", t.session,
                                      s.cwd or "codex:unknown", s.cwd, now))
        elif kind == "token_usage_record":                                               # 5
            try:
                c = five(p.get("usage")) or ZERO5
            except BadCount:
                c = ZERO5
            thread = p.get("thread_id")
            if (s.own or thread == t.id) and thread in (None, t.id) and any(c):
                if recent and recent[1] == c:                                            # reverse order
                    rows.remove(recent[0])
                    if recent[0] in held:
                        held.remove(recent[0])
                else:
                    unmatched.append(c)
                recent, seen_record = None, True
                rid = text(p.get("response_id"))
                key = f"codex:resp:{rid}" if rid else "codex:rec:%s:%s" % (
                    t.id, ":".join(map(str, running(p.get("thread_token_usage")) or ZERO5)))
                emit(key, c, text(p.get("model")), now)
        elif kind == "token_count" and s.own:                                            # 6
            try:
                L = five(info.get("last_token_usage"))
                if T is None and isinstance(info.get("total_token_usage"), dict):
                    L = None                                                             # a bad total
            except BadCount:
                T = L = None
            step, key = None, T and "codex:tc:%s:%s" % (t.id, ":".join(map(str, T)))
            if T is None and L is None:                                                  # 6a, 6b
                STATS["codex", "token_count without info"] += 1
            elif T is None:                                                              # 6h
                if not (last_l and last_l[0] == L and now - last_l[1] <= 5000):
                    step, key = L, f"codex:tc:{t.id}:{line_id}"
            elif T == s.prev:                                                            # 6c
                STATS["codex", "repeated token_count"] += 1
            elif T == ZERO5:                                                             # 6d
                s.prev = ZERO5
            elif s.prev is None:                                                         # 6g
                step = L if L and any(L) else None if t.parent or t.base else T
                s.prev = T
            elif all(a >= b for a, b in zip(T, s.prev)):                                 # 6e
                step = tuple(a - b for a, b in zip(T, s.prev))
                STATS["codex", "step differs from last"] += L is not None and step != L
                s.prev = T
            elif T == L or 2 * (T[0] + T[3]) < s.prev[0] + s.prev[3]:                    # 6f: reset
                step = L if L and any(L) else T
                s.prev = T
                STATS["codex", "resets"] += 1
            else:
                STATS["codex", "stale totals"] += 1                                      # 6f: stale
            last_l = (L, now) if L else last_l
            if step and any(step):                                                       # 6i
                runs = [(a, b) for n in range(1, len(unmatched) + 1) if n == 1 or seen_record
                        for a in range(len(unmatched) - n + 1) for b in [a + n]
                        if tuple(map(sum, zip(*unmatched[a:b]))) == step]
                if runs:
                    del unmatched[runs[0][0]:runs[0][1]]
                else:
                    is_one = bool(L) and all(a <= b for a, b in zip(step, L))    # else a token_count was not logged
                    row = emit(key, step, text(p.get("model")) or text(info.get("model")), now, not is_one)
                    recent = (row, step) if row else recent
        i += 1
    for row in held:
        row.model = "unknown"                                                            # 8
    return rows


def read_rollout(path):
    if not path.endswith(".zst"):
        return open(path, "rb").read()
    try:
        import zstandard
    except ImportError:
        print(f"skipped, no zstandard module: {path}", file=sys.stderr)
        return None
    with open(path, "rb") as f:
        return zstandard.ZstdDecompressor().stream_reader(f, read_across_frames=True).read()


def codex(home):
    """CX 1: both places; the plain form wins over .zst in one directory; the identity is the thread id."""
    threads, files = {}, []
    for place in ("sessions", "archived_sessions"):
        accept = lambda n: n.startswith("rollout-") and n.endswith((".jsonl", ".jsonl.zst"))
        for path in walk(os.path.join(home, ".codex", place), accept):
            if path.endswith(".zst") and os.path.exists(path[:-4]):
                continue
            data = read_rollout(path)
            lines = list(objects(data, "codex")) if data is not None else []
            t = lineage(lines)
            if t:
                files.append((lines, t, os.stat(path).st_mtime_ns // 1_000_000))
                threads.setdefault(t.id, lines)
    groups = collections.defaultdict(list)
    for lines, t, mtime in files:
        series = series_of(threads[t.parent]) if t.parent in threads else None
        for s in codex_file(lines, t, series, mtime):
            groups[s.key].append(s)
    return [merge(g) for g in groups.values()]


# ------------------------------------------------------------------------------- the agents of the first wave
def document(path):
    """A whole JSON document, None if it is not there, not whole, or no JSON."""
    try:
        with open(path, "rb") as f:
            return json.loads(f.read().removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace"), parse_constant=int)
    except (OSError, ValueError, RecursionError):
        return None


def parsed(v):
    """The object in a JSON column or string; {} if it holds none."""
    try:
        return obj(json.loads(v, parse_constant=int))
    except (TypeError, ValueError, RecursionError):
        return {}


def items(v):
    return v if isinstance(v, list) else []


def nano(usd):
    """Nano-USD of a recorded cost, None if none is recorded."""
    known = isinstance(usd, (int, float)) and not isinstance(usd, bool) and 0 <= usd < 9e9
    return half_up(*(Decimal(str(usd)) * 10**9).as_integer_ratio()) if known else None


def disjoint(i, o, read, write, think=0):
    use = dict.fromkeys(TOKENS, 0) | {"speed": "standard"}
    return use | {"input_tokens": i, "output_tokens": o, "cache_read_tokens": read,
                  "cache_create_tokens": write, "reasoning_tokens": min(think, o)}


def inclusive(i, o, read, write, think=0):
    """Input that includes the cache. CHOICE: clamped at 0, as the agents' sheets say; the alternative of
    cross-cutting rule 6, to take such input as exclusive, is only counted."""
    STATS["input smaller than its cache"] += i < read + write
    return disjoint(max(0, i - read - write), o, read, write, think)


def some(use):
    return any(use[k] for k in TOKENS)


def digest(*parts):
    return hashlib.sha256("|".join(map(str, parts)).encode("utf-8", "surrogatepass")).hexdigest()


def mtime_of(path):
    return os.stat(path).st_mtime_ns // 1_000_000


def first_known(*times):
    return next(t for t in times if t is not None)


def joined(statements):
    groups = collections.defaultdict(list)
    for s in statements:
        groups[s.key].append(s)
    return [merge(g) for g in groups.values()]


def said(content):
    """The text of a message: a string, a part, or a list of parts."""
    parts = content if isinstance(content, list) else [content]
    return "\n".join(text(p) or text(obj(p).get("text")) for p in parts).strip()


def of_database(path, read):
    """What `read` makes of a database. A copy with its write-ahead log is opened: opening changes the files."""
    with tempfile.TemporaryDirectory() as folder:
        for end in ("", "-wal"):
            if os.path.isfile(path + end):
                shutil.copyfile(path + end, os.path.join(folder, "copy.db" + end))
        try:
            with contextlib.closing(sqlite3.connect(os.path.join(folder, "copy.db"))) as db:
                db.text_factory = lambda raw: raw.decode("utf-8", "replace")
                return list(read(db))
        except sqlite3.Error as e:
            print(f"skipped, {e}: {path}", file=sys.stderr)
            return []


def table(db, name, *columns):
    """The rows of a table as dictionaries, in rowid order; a column this version lacks is None."""
    there = {row[1] for row in db.execute(f"PRAGMA table_info({name})")}
    if not there:
        return
    what = ", ".join(c if c in there else f"NULL AS {c}" for c in columns)
    for row in db.execute(f"SELECT {what} FROM {name} ORDER BY rowid"):
        yield dict(zip(columns, row))


# ------------------------------------------------------------------------------------ OpenCode ("OC")
NOT_BORN = 1 << 62                                            # a session whose start is not known owns nothing


def opencode_tree(storage):
    """OC 1: sessions, messages and parts of the JSON tree."""
    stem = lambda path: os.path.basename(path)[:-len(".json")]
    folder = lambda path: os.path.basename(os.path.dirname(path))
    files = lambda kind: walk(os.path.join(storage, kind), lambda n: n.endswith(".json"))
    sessions, messages, parts = {}, [], collections.defaultdict(list)
    for path in files("session"):
        s = obj(document(path))
        sessions[text(s.get("id")) or stem(path)] = NS(
            parent=text(s.get("parentID")), directory=text(s.get("directory")),
            born=ts_ms(obj(s.get("time")).get("created")) or NOT_BORN)
    for path in files("message"):
        m = obj(document(path))
        messages.append((text(m.get("id")) or stem(path), text(m.get("sessionID")) or folder(path), m, mtime_of(path)))
    for path in files("part"):
        p = obj(document(path))
        parts[text(p.get("messageID")) or folder(path)].append((text(p.get("id")) or stem(path), p, None))
    return sessions, messages, parts


def opencode_database(db):
    """OC 2: the same three of a database."""
    sessions, messages, parts = {}, [], collections.defaultdict(list)
    for name in ("session", "session_v2"):
        for s in table(db, name, "id", "parent_id", "directory", "time_created"):
            sessions[s["id"]] = NS(parent=text(s["parent_id"]), directory=text(s["directory"]),
                                   born=ts_ms(s["time_created"]) or NOT_BORN)
    for m in table(db, "message", "id", "session_id", "time_created", "data"):
        messages.append((m["id"], m["session_id"], parsed(m["data"]), m["time_created"]))
    for m in table(db, "session_message", "id", "session_id", "type", "time_created", "data"):
        data = parsed(m["data"]) | {"role": m["type"]}
        messages.append((m["id"], m["session_id"], data, m["time_created"]))
    for p in table(db, "part", "id", "message_id", "time_created", "data"):
        parts[p["message_id"]].append((p["id"], parsed(p["data"]), ts_ms(p["time_created"])))
    return sessions, messages, parts


def opencode_output(t, i, o, think, read, write, model, ts, logged):
    """OC 3: is the reasoning part of the output, or does it come on top?"""
    try:
        total = count(t.get("total"), 2**63)
    except BadCount:
        total = 0
    with_it = i + o + think + read + write
    if not think or total == with_it:
        return o + think
    if total == with_it - think:
        return o
    # CHOICE: without a total that fits, the reading whose price is nearer to the recorded cost.
    costs = [price(model, ts, disjoint(i, n, read, write)) for n in (o + think, o)]
    if logged and None not in costs and abs(costs[1] - logged) < abs(costs[0] - logged):
        return o
    return o + think


def opencode_statements(sessions, messages, parts):
    for mid, sid, m, stamp in messages:
        session = sessions.get(sid) or NS(parent="", directory="", born=NOT_BORN)
        time, path, named = obj(m.get("time")), obj(m.get("path")), obj(m.get("model"))
        created, completed = ts_ms(time.get("created")), ts_ms(time.get("completed"))
        model = text(m.get("modelID")) or text(named.get("modelID")) or text(named.get("id"))
        vendor = text(m.get("providerID")) or text(named.get("providerID"))
        project = text(path.get("root")) or session.directory or "opencode:unknown"
        who = dict(session=sid, project=project, cwd=text(path.get("cwd")) or session.directory, born=session.born)
        own = sorted(parts[mid], key=lambda p: p[0])          # ids are time-sortable (OC 6)

        if m.get("role") == "user":
            # Typed by a person: text that the agent did not add itself, not the task of a sub-agent.
            texts = [p for _, p, _ in own if p.get("type") == "text"]
            typed = [p for p in texts if not p.get("synthetic") and not p.get("ignored")]
            if not session.parent and any(said(p) for p in typed + [m]):
                key = digest(created, vendor, model, text(m.get("agent"))) if created is not None else mid
                yield statement(f"opencode:prompt:{key}", "user", ts=first_known(created, ts_ms(stamp), 0), **who)
            continue
        if m.get("role") != "assistant" or completed is None or created is None:
            STATS["opencode", "not complete"] += m.get("role") == "assistant"
            continue

        def call(ordinal, record, ts):
            t = obj(record.get("tokens"))
            cache, cost = obj(t.get("cache")), record.get("cost")
            try:
                i, o, think, read, write = (count(v) for v in (
                    t.get("input"), t.get("output"), t.get("reasoning"), cache.get("read"), cache.get("write")))
            except BadCount:
                return None
            if not any((i, o, think, read, write)):
                return None
            logged = nano(cost) or None                       # OC 4: 0 is "not priced"
            out = opencode_output(t, i, o, think, read, write, model, created, logged)
            # OC 6. CHOICE: a message without steps is its own step 0, so that it equals its only step.
            key = digest(created, completed, vendor, model, i, o, think, read, write, (logged or 0), ordinal)
            return statement("opencode:" + key, "assistant", model=model or "unknown", ts=first_known(ts, created),
                             use=disjoint(i, out, read, write, think), logged=logged, priced=False, **who)

        steps = [(p, ts) for _, p, ts in own if p.get("type") == "step-finish"]
        calls = [call(n, p, ts) for n, (p, ts) in enumerate(steps)]
        STATS["opencode", "messages with several steps"] += len(steps) > 1
        yield from filter(None, calls if any(calls) else [call(0, m, None)])


def opencode(home):
    """The tree and every database: copies carry the same keys, so reading all of them is safe (OC 1)."""
    base = os.path.join(home, ".local", "share", "opencode")
    found = list(opencode_statements(*opencode_tree(os.path.join(base, "storage"))))
    for path in sorted(glob.glob(os.path.join(glob.escape(base), "opencode*.db"))):
        if re.fullmatch(r"opencode(-[A-Za-z0-9._-]+)?\.db", os.path.basename(path)):
            found += of_database(path, lambda db: opencode_statements(*opencode_database(db)))
    return joined(found)


# ---------------------------------------------------------------------------- GitHub Copilot CLI ("GH")
def copilot_store(db, mtime):
    """GH 1: one row per request."""
    sessions = {s["id"]: s for s in table(db, "sessions", "id", "cwd", "created_at")}
    for r in table(db, "assistant_usage_events", "id", "session_id", "model", "copilot_usage_model",
                   "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens",
                   "reasoning_tokens", "total_nano_aiu", "created_at"):
        s = sessions.get(r["session_id"], {})
        model = text(r["model"]) or text(r["copilot_usage_model"])
        tokens = [r[k + "_tokens"] for k in ("input", "output", "cache_read", "cache_write", "reasoning")]
        try:
            use = inclusive(*map(count, tokens))
        except BadCount:
            use = disjoint(0, 0, 0, 0)
        ts = first_known(ts_ms(r["created_at"]), ts_ms(s.get("created_at")), mtime)
        key = f"copilot:store:{r['session_id']}:{r['id']}:{digest(r['created_at'], model, *tokens)}"
        yield statement(key, "assistant", text(r["session_id"]), "", text(s.get("cwd")), ts, model=model or "unknown",
                        use=use, logged=ai_units(r["total_nano_aiu"]), priced=False)


def ai_units(n):
    """GH 7: nano-units / 1e11 = USD; 0 is from before usage pricing."""
    try:
        return half_up(count(n, 2**63), 100) or None
    except BadCount:
        return None


def copilot_shutdown(before, now, said_out):
    """GH 2: the usage of one leg, from the counters of two shutdowns. `now` is (requests, output, ...)."""
    if before is None or any(a < b for a, b in zip(now, before)):
        return now
    step = tuple(a - b for a, b in zip(now, before))
    # Old versions wrote the leg alone: then the messages of the leg add up to the whole, not to the difference.
    return now if said_out and abs(now[1] - said_out) < abs(step[1] - said_out) else step


def copilot_journal(path):
    name = os.path.basename(path)
    session = os.path.basename(os.path.dirname(path)) if name == "events.jsonl" else name[:-len(".jsonl")]
    model = cwd = ""
    before, leg, last_ts = {}, collections.Counter(), None
    for o, line_id in objects(open(path, "rb").read(), "copilot"):
        d, kind, ts = obj(o.get("data")), o.get("type"), ts_ms(o.get("timestamp"))
        last_ts = ts if ts is not None else last_ts
        ts = first_known(last_ts, mtime_of(path))
        if kind in ("session.start", "session.resume"):
            session = text(d.get("sessionId")) or session
            model = text(d.get("selectedModel")) or model
            cwd = text(obj(d.get("context")).get("cwd")) or cwd
        elif kind == "session.model_change":
            model = text(d.get("newModel")) or model
        elif kind == "session.compaction_complete" and d.get("success") is True:
            before.clear()                                    # every counter starts again
        elif kind == "assistant.message":
            leg[text(d.get("model")) or model] += told(d.get("outputTokens"))
        elif kind == "user.message":
            # What the agent puts in names its source (a skill); its own "go on" of autopilot has no content.
            if text(d.get("content")).strip() and d.get("source") in (None, "user"):
                key = f"copilot:prompt:{session}:{text(o.get('id')) or line_id}"
                yield statement(key, "user", session, "", cwd, ts)
        elif kind == "session.shutdown":
            metrics = obj(d.get("modelMetrics"))
            for used, m in metrics.items():
                u, m = obj(obj(m).get("usage")), obj(m)
                # The sheet knows the AI units of the whole session only; real files have them per model too.
                units = m.get("totalNanoAiu", d.get("totalNanoAiu") if len(metrics) == 1 else None)
                try:
                    now = tuple(count(v, 2**63) for v in (
                        obj(m.get("requests")).get("count"), u.get("outputTokens"), u.get("inputTokens"),
                        u.get("cacheReadTokens"), u.get("cacheWriteTokens"), u.get("reasoningTokens"), units))
                except BadCount:
                    continue
                _, out, i, read, write, think, units = copilot_shutdown(before.get(used), now, leg[used])
                before[used] = now
                use = inclusive(i, out, read, write, think)
                STATS["copilot", "shutdown without tokens"] += not some(use)
                if some(use):
                    key = f"copilot:journal:{session}:{used}:{text(o.get('id')) or line_id}"
                    yield statement(key, "assistant", session, "", cwd, ts, model=used, use=use,
                                    logged=ai_units(units), priced=False)
            leg.clear()
    STATS["copilot", "output tokens after the last shutdown, not counted"] += sum(leg.values())


def copilot(home):
    """GH: calls of a session with rows in the store are not taken from its journal. CHOICE: its prompts are,
    as the store's tables of the sheet have none."""
    base = os.path.join(home, ".copilot")
    store = os.path.join(base, "session-store.db")
    found = of_database(store, lambda db: copilot_store(db, mtime_of(store))) if os.path.isfile(store) else []
    stored, journals = {s.session for s in found}, []
    for place in ("session-state", "history-session-state"):
        root = os.path.realpath(os.path.join(base, place))
        for path in walk(root, lambda n: n.endswith(".jsonl")):
            inner = os.path.relpath(path, root).split(os.sep)
            if len(inner) == 1 or (len(inner) == 2 and inner[1] == "events.jsonl"):
                journals += copilot_journal(path)
    cwds = {s.session: s.cwd for s in sorted(journals, key=lambda s: s.ts, reverse=True) if s.cwd}
    found += [s for s in journals if s.role == "user" or s.session not in stored]
    for s in found:
        s.cwd = s.cwd or cwds.get(s.session, "")              # a gap of the store
        s.project = s.cwd or "github-copilot:unknown"
    return joined(s for s in found if s.role == "user" or some(s.use))


# --------------------------------------------------------------------------------------- Gemini CLI ("GE")
def gemini_prompt(m):
    """Typed by a person: has text, is no answer of a tool, and not the agent's own request to go on. A slash
    command counts: its expansion is the content, what was typed is the displayContent."""
    shown = m.get("displayContent", m.get("content"))
    answers = [p for v in (shown, m.get("content")) for p in items(v) if "functionResponse" in obj(p)]
    return not answers and said(shown) not in ("", "Please continue.", "System: Please continue.")


def gemini_messages(path):
    """GE 2: (session, kind, message) of a file of either generation, in order."""
    session, kind = os.path.basename(path).rsplit(".", 1)[0], ""
    lines = [obj(document(path))] if path.endswith(".json") else \
        [o for o, _ in objects(open(path, "rb").read(), "gemini")]
    for o in lines:
        if text(o.get("sessionId")):
            session, kind = o["sessionId"], text(o.get("kind")) or kind
        for m in [o] + items(o.get("messages")) + items(obj(o.get("$set")).get("messages")):
            if text(obj(m).get("id")) and text(obj(m).get("type")):
                yield session, kind, m


def gemini_file(path, project, known, sub):
    done = set()
    for session, kind, m in gemini_messages(path):
        ts = ts_ms(m.get("timestamp"))
        who = dict(session=session, project=project, cwd=project if known else "", born=0 if known else 1,
                   ts=first_known(ts, mtime_of(path)))
        if m["type"] == "user" and not sub and kind in ("", "main") and gemini_prompt(m):
            yield statement(f"gemini:prompt:{session}:{m['id']}", "user", **who)
        t = m.get("tokens")
        if m["type"] != "gemini" or not isinstance(t, dict) or m["id"] in done:
            continue
        done.add(m["id"])                                     # GE 5: the first record with tokens wins
        try:
            i, cached, o, think, tool = (count(t.get(k)) for k in ("input", "cached", "output", "thoughts", "tool"))
        except BadCount:
            continue
        use = inclusive(i, o + think, cached, 0, think)
        use["input_tokens"] += tool
        all_of_it = use["input_tokens"] + use["output_tokens"] + cached
        STATS["gemini", "total differs"] += t.get("total") is not None and t["total"] != all_of_it
        if some(use):
            yield statement(f"gemini:{session}:{m['id']}", "assistant", model=text(m.get("model")) or "unknown",
                            use=use, priced=False, **who)


def gemini(home):
    base = os.path.join(home, ".gemini")
    tmp = os.path.realpath(os.path.join(base, "tmp"))
    folders = {}
    for path, slug in obj(obj(document(os.path.join(base, "projects.json"))).get("projects")).items():
        folders[slug if isinstance(slug, str) else ""] = path
        folders.setdefault(hashlib.sha256(path.encode("utf-8", "surrogatepass")).hexdigest(), path)
    found = []
    for folder in sorted(os.listdir(tmp)) if os.path.isdir(tmp) else []:
        try:
            with open(os.path.join(tmp, folder, ".project_root"), encoding="utf-8", errors="replace") as f:
                root = f.read().strip()
        except OSError:
            root = ""
        known = root or folders.get(folder, "")               # GE 4
        chats = os.path.join(tmp, folder, "chats")
        for path in walk(chats, lambda n: n.endswith((".json", ".jsonl")) and not n.startswith((".", "checkpoint"))):
            sub = os.sep in os.path.relpath(path, os.path.realpath(chats))  # GE 1: chats/<parent>/<session>
            if sub or os.path.basename(path).startswith("session-"):
                found += gemini_file(path, known or f"gemini-cli:{folder}", bool(known), sub)
    return joined(found)


# -------------------------------------------------------------------------------------------- Cline ("CL")
def cline_call(key, model, use, cost, **who):
    """CL: a call has tokens or a cost; otherwise it still runs, or was cancelled."""
    if some(use) or cost:
        yield statement(key, "assistant", model=model or "unknown", use=use, logged=cost, priced=False, **who)


def cline_session(path):
    """CL A: one messages file of v4. Sub-agents' files stand beside that of their lead, which alone is prompted."""
    folder, stem = os.path.dirname(path), os.path.basename(path)[:-len(".messages.json")]
    d = obj(document(path))
    session = text(d.get("sessionId")) or stem
    places = [(folder, stem), (os.path.join(os.path.dirname(folder), session), session),
              (folder, os.path.basename(folder))]
    manifest = next((m for f, n in places if isinstance(m := document(os.path.join(f, n + ".json")), dict)), {})
    lead = text(d.get("agent")) in ("", "lead") and obj(manifest.get("metadata")).get("isSubagent") is not True
    cwd = text(manifest.get("workspace_root")) or text(manifest.get("cwd"))
    started = ts_ms(manifest.get("started_at"))
    who = dict(session=session, project=cwd or "cline:unknown", cwd=cwd, born=NOT_BORN if started is None else started,
               rank=1 if obj(manifest.get("metadata")).get("fork") else 0)
    for m in map(obj, items(d.get("messages"))):
        mid, content = text(m.get("id")), m.get("content")
        ts = first_known(ts_ms(m.get("ts")), started, mtime_of(path))
        if not mid:
            continue
        # Of what has the role of a user, tool results are not typed.
        tool = any(obj(b).get("type") == "tool_result" for b in items(content))
        if m.get("role") == "user" and lead and not tool and said(content):
            yield statement(f"cline:prompt:{mid}:{m.get('ts')}", "user", ts=ts, **who)
        metrics, info = m.get("metrics"), obj(m.get("modelInfo"))
        if m.get("role") != "assistant" or not isinstance(metrics, dict) or info.get("provider") == "claude-code":
            continue                                          # the inner agent's own log is read
        try:
            use = inclusive(*(count(metrics.get(k + "Tokens")) for k in ("input", "output", "cacheRead", "cacheWrite")))
        except BadCount:
            continue
        model = text(info.get("id")) or text(manifest.get("model"))
        yield from cline_call(f"cline:{mid}:{m.get('ts')}", model, use, nano(metrics.get("cost")), ts=ts, **who)


def cline_cwd(history, folder, entries):
    """CL B: of the index, else the line in the first message (as sent, else as the request quotes it)."""
    if text(history.get("cwdOnTaskInitialization")):
        return history["cwdOnTaskInitialization"]
    sent = items(document(os.path.join(folder, "api_conversation_history.json")))
    first = [said(obj(m).get("content")) for m in sent if obj(m).get("role") == "user"][:1]
    quoted = [text(parsed(e.get("text")).get("request")) for e in entries if e.get("say") == "api_req_started"][:1]
    for message in first + quoted:
        if line := re.search(r"^# Current Working Directory \((.+?)\) Files", message, re.M):
            return line[1]
    return ""


def cline_task(path, history):
    """CL B: one task of the extension up to 3.89."""
    folder = os.path.dirname(path)
    task = os.path.basename(folder)
    entries = [e for e in map(obj, items(document(path))) if isinstance(e.get("ts"), int) and e.get("type") == "say"]
    metadata = obj(document(os.path.join(folder, "task_metadata.json")))
    used = [u for u in map(obj, items(metadata.get("model_usage"))) if text(u.get("model_id"))]
    cwd = cline_cwd(history, folder, entries)
    who = dict(session=task, project=cwd or "cline:unknown", cwd=cwd)
    rows = {}                                                 # a later entry of one key replaces the earlier one
    for e in entries:
        ts, say, info = e["ts"], e.get("say"), obj(e.get("modelInfo"))
        if ts_ms(ts) is None:
            continue
        if say in ("task", "user_feedback") and (said(e) or items(e.get("images"))):
            key = f"cline-legacy:prompt:{task}:{ts}"
            rows[key] = [statement(key, "user", ts=ts, **who)]
        # deleted_api_reqs: to a first reading, the entries it stands for are gone, so it counts.
        if say not in ("api_req_started", "deleted_api_reqs", "subagent_usage"):
            continue
        if info.get("providerId") == "claude-code":           # the inner agent's own log is read
            continue
        t = parsed(e.get("text"))
        try:
            use = disjoint(*(count(t.get(k)) for k in ("tokensIn", "tokensOut", "cacheReads", "cacheWrites")))
        except BadCount:
            continue
        then = [u for u in used if isinstance(u.get("ts"), int) and u["ts"] <= ts][-1:] or used[:1]
        model = text(info.get("modelId")) or text(history.get("modelId")) or "".join(u["model_id"] for u in then)
        key = f"cline-legacy:{task}:{ts}:{say}"
        cost = nano(t.get("cost")) or None                    # cross-cutting rule 7: 0 is genuine in v4 only
        rows[key] = list(cline_call(key, model, use, cost, ts=ts, **who))
    for found in rows.values():
        yield from found


def cline(home):
    data = os.path.join(home, ".cline", "data")
    sessions = os.path.realpath(os.path.join(data, "sessions"))
    found = []
    for path in walk(sessions, lambda n: n.endswith(".messages.json")):
        if len(os.path.relpath(path, sessions).split(os.sep)) == 2:
            found += cline_session(path)
    storage = os.path.join("User", "globalStorage", "saoudrizwan.claude-dev")
    roots = [data] + sorted(glob.glob(os.path.join(glob.escape(home), ".config", "*", storage)))
    roots += [os.path.join(home, server, "data", storage) for server in (".vscode-server", ".cursor-server")]
    for root in roots:
        index = items(document(os.path.join(root, "state", "taskHistory.json")))
        histories = {str(h["id"]): h for h in map(obj, index) if h.get("id") is not None}
        for folder in sorted(glob.glob(os.path.join(glob.escape(root), "tasks", "*"))):
            names = [os.path.join(folder, n) for n in ("ui_messages.json", "claude_messages.json")]
            for path in [p for p in names if os.path.isfile(p)][:1]:
                found += cline_task(path, histories.get(os.path.basename(folder), {}))
    return joined(found)


# ----------------------------------------------------------------------------------------------- Pi ("PI")
STAMPED = re.compile(r"\d{4}-\d\d-\d\dT[^_]*_(.+)", re.S)    # PI 1: <time>_<session>


def pi_file(path, parent):
    """PI 2: statements of one session, in order. `parent` is the session whose folder the file is in."""
    stem = os.path.basename(path)[:-len(".jsonl")]
    stamped = STAMPED.fullmatch(stem)
    session, cwd, begun, forked, header = stamped[1] if stamped else stem, "", None, False, False
    sub, asked = bool(parent), ("", "")
    lines = [o for o, _ in objects(open(path, "rb").read(), "pi")]
    for o in lines:
        kind, m, at = text(o.get("type")), obj(o.get("message")), ts_ms(o.get("timestamp"))
        if kind == "session" and not header:
            header, session, cwd = True, text(o.get("id")) or session, text(o.get("cwd"))
            begun, forked = at, bool(text(o.get("parentSession")) or text(o.get("branchedFrom")))
        sub |= kind == "session_init"
        asked = (text(o.get("modelId")) or asked[0], text(o.get("provider")) or asked[1]) \
            if kind in ("session", "model_change") else asked
        role = text(m.get("role")) if kind == "message" else ""
        calls = []                                            # (record, time, on the side, key without counts)
        if role == "assistant":
            asked = (text(m.get("model")) or asked[0], text(m.get("provider")) or asked[1])
            calls.append((m, first_of(ts_ms(m.get("timestamp")), at), sub, None))
        # CHOICE: the sheet calls these a blind spot; newer versions record them, OMP as model_usage.
        if kind in ("compaction", "branch_summary"):
            calls.append((o | {"model": asked[0], "provider": asked[1]}, at, sub, "pi:summary:%d" % (at or 0)))
        if kind == "model_usage":
            calls.append((o, at, sub, None))
        # CHOICE: a subagent that ran without a session of its own is only told in the result of its tool.
        told_in = items(obj(m.get("details")).get("results")) if role else []
        for reported in [r for result in told_in for r in items(obj(result).get("messages"))]:
            if obj(reported).get("role") == "assistant":
                calls.append((reported, ts_ms(reported.get("timestamp")), True, None))
        who = lambda ts: dict(session=parent or session, project=cwd or "pi:unknown", cwd=cwd, ts=ts,
                              rank=int(forked and (begun is None or ts < begun)))   # PI 5: what is older is a copy
        for record, ts, side, key in calls:
            u = record.get("usage")
            try:
                if not isinstance(u, dict) or ts is None:
                    continue
                counts = [count(u.get(k)) for k in ("input", "output", "cacheRead", "cacheWrite")]
                extra = [count(obj(u.get("orchestration")).get(k)) for k in ("input", "output", "cacheRead")]
            except BadCount:
                continue
            i, o_, read, write = [a + b for a, b in zip(counts, extra + [0])]
            use = disjoint(i, o_, read, write, told(u.get("reasoning", u.get("reasoningTokens"))))
            hour = told(u.get("cacheWrite1h", obj(u.get("cttl")).get("ephemeral1h")))
            use |= {"cache_create_1h_tokens": min(hour, write),
                    "web_search_requests": told(obj(u.get("server")).get("webSearch"))}
            model = text(record.get("model")) or "unknown"
            if some(use):                                     # PI 3: all zero is no call
                yield statement(":".join(map(str, [key or f"pi:{ts}:{model}", *counts])), "assistant", model=model,
                                use=use, priced=False, side=side,
                                logged=nano(obj(u.get("cost")).get("total")) or None, **who(ts))   # PI 3: if > 0
        ts = first_of(ts_ms(m.get("timestamp")), at)
        pictures = [b for b in items(m.get("content")) if obj(b).get("type") == "image"]
        injected = m.get("synthetic") is True or m.get("attribution") == "agent"
        if role == "user" and not sub and not injected and ts is not None and (said(m.get("content")) or pictures):
            yield statement(f"pi:prompt:{ts}", "user", **who(ts))


def first_of(*times):
    return next((t for t in times if t is not None), None)


def pi(home):
    found = []
    for agent in (".pi", ".omp", ".prime", ".gjc", ".senpi"):
        root = os.path.realpath(os.path.join(home, agent, "agent", "sessions"))
        for path in walk(root, lambda n: n.endswith(".jsonl") and not n.startswith(".")):
            folders = os.path.relpath(path, root).split(os.sep)[:-1]
            parents = [m[1] for m in map(STAMPED.fullmatch, folders) if m]
            if parents or len(folders) < 2:                   # a session, or in the folder of one
                found += pi_file(path, parents[0] if parents else "")
    return joined(found)


# ----------------------------------------------------------------------------------------------- totals
def measures(priced):
    """The costs of an agent that is not priced here: those it recorded, and how many calls have one."""
    costs = ("cost_nanousd", "unpriced") if priced else ("recorded_cost_nanousd", "recorded_costs")
    return {"events": 0, "prompts": 0} | dict.fromkeys(TOKENS, 0) | dict.fromkeys(costs, 0)


def add(m, row):
    m["events" if row.role == "assistant" else "prompts"] += 1
    for k in TOKENS:
        m[k] += row.use[k]
    if "unpriced" in m:
        m["cost_nanousd"] += row.cost or 0
        m["unpriced"] += row.cost is None                      # prompts cost 0, never None
    elif row.role == "assistant":
        m["recorded_cost_nanousd"] += row.cost or 0
        m["recorded_costs"] += row.cost is not None


def totals(rows, priced=False):
    out = measures(priced)
    tables = {name: collections.defaultdict(lambda: measures(priced)) for name in ("models", "sessions", "days_utc")}
    earliest = {}
    for r in rows:
        day = (EPOCH + timedelta(milliseconds=r.ts)).strftime("%Y-%m-%d")
        parts = [out, tables["sessions"][r.session], tables["days_utc"][day]]
        for m in parts + ([tables["models"][r.model]] if r.role == "assistant" else []):
            add(m, r)
        earliest[r.session] = min(earliest.get(r.session, (r.ts, r.project)), (r.ts, r.project))
    for session, m in tables["sessions"].items():
        m["project"] = earliest[session][1]
    return out | {name: {k: table[k] for k in sorted(table)} for name, table in tables.items()}


# ------------------------------------------------------------------------------------------- edge cases
def read_home(read, files):
    """What `read` makes of a home with these files: a text, a JSON value, JSON lines (tuple), or SQL (name ends
    in .db). Databases stay open meanwhile, so that their rows are in the write-ahead log alone."""
    with tempfile.TemporaryDirectory() as home, contextlib.ExitStack() as still_open:
        for name, content in files.items():
            path = os.path.join(home, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if name.endswith(".db"):
                db = still_open.enter_context(contextlib.closing(sqlite3.connect(path)))
                db.execute("PRAGMA journal_mode=wal")
                for sql, values in content:
                    db.execute(sql, values)
                db.commit()
                continue
            if isinstance(content, tuple):
                content = "".join(json.dumps(line) + "\n" for line in content)
            with open(path, "w", encoding="utf-8") as f:
                f.write(content if isinstance(content, str) else json.dumps(content))
        return read(home)


def told_by(rows):
    """(input, cache read, cache write, output, reasoning) of the calls, sorted."""
    names = ("input_tokens", "cache_read_tokens", "cache_create_tokens", "output_tokens", "reasoning_tokens")
    return sorted(tuple(r.use[n] for n in names) for r in rows if r.role == "assistant")


def prompts(rows):
    return sum(r.role == "user" for r in rows)


def costs(rows):
    return [r.cost for r in rows if r.role == "assistant"]


def opencode_cases():
    def tokens(i, o, think=0, read=0, write=0, total=None):
        return {"input": i, "output": o, "reasoning": think, "cache": {"read": read, "write": write}} | \
            ({} if total is None else {"total": total})

    def message(sid, mid, t, cost=0.0, completed=1_760_000_009_000, created=1_760_000_001_000):
        return {"id": mid, "sessionID": sid, "role": "assistant", "modelID": "m", "providerID": "p", "cost": cost,
                "path": {"cwd": "/home/ada/shop", "root": "/home/ada/shop"}, "tokens": t,
                "time": {"created": created} | ({"completed": completed} if completed else {})}

    def tree(*messages, parts=(), parents={}):
        out = {}
        for n, sid in enumerate(dict.fromkeys(m["sessionID"] for m in messages)):
            s = {"id": sid, "directory": "/home/ada/shop", "time": {"created": 1_760_000_000_000 + n}}
            out[f"{base}storage/session/x/{sid}.json"] = s | ({"parentID": parents[sid]} if sid in parents else {})
        for m in messages:
            out[f"{base}storage/message/{m['sessionID']}/{m['id']}.json"] = m
        for p in parts:
            out[f"{base}storage/part/{p['messageID']}/{p['id']}.json"] = p
        return out

    def sql(*messages, parts=()):
        yield "CREATE TABLE session (id TEXT PRIMARY KEY, parent_id TEXT, directory TEXT, time_created INTEGER)", ()
        yield "CREATE TABLE message (id TEXT PRIMARY KEY, session_id TEXT, time_created INTEGER, data TEXT)", ()
        yield "CREATE TABLE part (id TEXT PRIMARY KEY, message_id TEXT, time_created INTEGER, data TEXT)", ()
        for sid in dict.fromkeys(m["sessionID"] for m in messages):
            yield "INSERT INTO session VALUES (?, NULL, '/home/ada/shop', 1760000000000)", (sid,)
        for m in messages:
            data = json.dumps({k: v for k, v in m.items() if k not in ("id", "sessionID")})
            yield "INSERT INTO message VALUES (?, ?, ?, ?)", (m["id"], m["sessionID"], m["time"]["created"], data)
        for p in parts:
            data = json.dumps({k: v for k, v in p.items() if k not in ("id", "messageID")})
            yield "INSERT INTO part VALUES (?, ?, 1760000002000, ?)", (p["id"], p["messageID"], data)

    def step(mid, n, t, cost):
        return {"id": f"prt_{mid}{n}", "messageID": mid, "type": "step-finish", "tokens": t, "cost": cost}

    base = ".local/share/opencode/"
    db = base + "opencode.db"
    read = lambda files: read_home(opencode, files)
    zero, one, full = tokens(0, 0), message("s", "msg_1", tokens(10, 5, 0, 900, 40), .01), [(10, 900, 40, 5, 0)]
    steps = [step("msg_1", n, tokens(10 + n, 5, 0, 900), .01) for n in range(3)]
    multi = message("s", "msg_1", tokens(12, 5, 0, 900), .03)
    copies = [message(s, "msg_" + s, tokens(10, 5, 0, 900, 40), .01) for s in ("s", "fork1", "fork2")]
    forks = read(tree(*copies))
    both = read(tree(one) | {db: list(sql(one, parts=[step("msg_1", 0, one["tokens"], .01)]))})
    ask = {"id": "msg_0", "sessionID": "s", "role": "user", "agent": "build", "time": {"created": 1_760_000_000_500}}
    said_by = lambda **more: [{"id": "prt_0", "messageID": "msg_0", "type": "text", "text": "Hi"} | more]
    output = lambda t: told_by(read(tree(message("s", "m", t))))
    prices = lambda out: price("claude-opus-4-5", 1_760_000_001_000, disjoint(100, out, 0, 0)) / 10**9
    return [
        ("OC 10.1 nothing yet", told_by(read(tree(message("s", "msg_1", zero, completed=None)))), []),
        ("OC 10.1 with tokens, not complete", told_by(read(tree(one | {"time": {"created": 1}}))), []),
        ("OC 10.2 the same row later", told_by(read(tree(one))), full),
        ("OC 10.3 steps", told_by(read(tree(multi, parts=steps))), [(n, 900, 0, 5, 0) for n in (10, 11, 12)]),
        ("OC 10.3 costs", sum(costs(read(tree(multi, parts=steps)))), 30_000_000),
        ("OC 10.4 forked twice", (told_by(forks), forks[0].session), (full, "s")),
        ("OC 10.5 tree and database", (told_by(both), both[0].ts), (full, 1_760_000_001_000)),
        ("OC 10.5 backup", told_by(read({db: list(sql(one)), base + "opencode-old.db": list(sql(one))})), full),
        ("OC 10.6 no price", costs(read(tree(message("s", "msg_1", tokens(1, 1))))), [None]),
        # A reader of copies is never told BUSY; the least of it: a database without tables hides no other.
        ("OC 10.7 empty database", told_by(read({db: [], base + "opencode-x.db": list(sql(one))})), full),
        ("OC 2 session_message", told_by(read({db: [
            ("CREATE TABLE session_message (id TEXT, session_id TEXT, type TEXT, time_created INTEGER, data TEXT)", ()),
            ("INSERT INTO session_message VALUES ('m', 's', 'assistant', 1, ?)", (json.dumps(
                {"model": {"id": "m", "providerID": "p"}, "tokens": one["tokens"], "time": one["time"]}),))]})), full),
        ("OC 3 total with reasoning", output(tokens(10, 5, 3, total=18)), [(10, 0, 0, 8, 3)]),
        ("OC 3 total without", output(tokens(10, 5, 3, total=15)), [(10, 0, 0, 5, 3)]),
        ("OC 3 no total", output(tokens(10, 5, 3)), [(10, 0, 0, 8, 3)]),
        ("OC 3 by the cost", [told_by(read(tree(message("s", "m", tokens(100, 50, 30), prices(out)) |
                                             {"modelID": "claude-opus-4-5"}))) for out in (50, 80)],
         [[(100, 0, 0, 50, 30)], [(100, 0, 0, 80, 30)]]),
        ("OC prompt", prompts(read(tree(ask, parts=said_by()))), 1),
        ("OC prompt of the agent", prompts(read(tree(ask, parts=said_by(synthetic=True)))), 0),
        ("OC prompt of a sub-agent", prompts(read(tree(ask, parts=said_by(), parents={"s": "lead"}))), 0),
        ("OC prompt in two forks", prompts(read(tree(ask, ask | {"sessionID": "f", "id": "msg_9"}, parts=said_by() + [
            said_by()[0] | {"messageID": "msg_9", "id": "prt_9"}]))), 1)]


def copilot_cases():
    def line(kind, n, **data):
        return {"type": kind, "id": f"e{n}", "timestamp": f"2026-09-01T10:00:{n:02}.000Z", "data": data}

    def shutdown(n, i, o, model="m", **more):
        return line("session.shutdown", n, modelMetrics={model: {"requests": {"count": i // 10},
                    "usage": {"inputTokens": i, "outputTokens": o}} | more})

    def store(*rows, session="s"):
        yield "CREATE TABLE sessions (id TEXT, cwd TEXT)", ()
        yield ("CREATE TABLE assistant_usage_events (id INTEGER PRIMARY KEY AUTOINCREMENT, session_id TEXT, "
               "model TEXT, input_tokens INTEGER, output_tokens INTEGER, cache_read_tokens INTEGER, "
               "cache_write_tokens INTEGER, total_nano_aiu INTEGER, created_at TEXT)"), ()
        for row in rows:
            yield ("INSERT INTO assistant_usage_events VALUES (NULL, ?, 'm', ?, ?, ?, ?, ?, '2026-09-01 10:00:00')",
                   (session, *row))

    def journal(*lines):
        start = line("session.start", 0, sessionId="s", context={"cwd": "/home/ada/shop"})
        return {".copilot/session-state/s/events.jsonl": (start,) + lines}

    db = ".copilot/session-store.db"
    read = lambda files: read_home(copilot, files)
    legs = lambda *lines: told_by(read(journal(*lines)))
    said_out = lambda n, o: line("assistant.message", n, outputTokens=o, model="m")
    stored = read(journal(shutdown(1, 1000, 50)) | {db: list(store((1000, 50, 700, 200, 2_500_000_000)))})
    return [
        ("GH 10.1 store before journal", told_by(stored), [(100, 700, 200, 50, 0)]),
        ("GH 10.1 the journal fills a gap", stored[0].project, "/home/ada/shop"),
        ("GH 10.1 store of another session", told_by(read(journal(shutdown(1, 10, 5)) |
         {db: list(store((20, 7, 0, 0, 0), session="t"))})), [(10, 0, 0, 5, 0), (20, 0, 0, 7, 0)]),
        ("GH 10.2 cumulative", legs(shutdown(1, 100, 50), shutdown(2, 180, 70)),
         [(80, 0, 0, 20, 0), (100, 0, 0, 50, 0)]),
        ("GH 10.3 new epoch", legs(shutdown(1, 180, 70), shutdown(2, 30, 5)), [(30, 0, 0, 5, 0), (180, 0, 0, 70, 0)]),
        ("GH 2 after a compaction", legs(shutdown(1, 100, 50), line("session.compaction_complete", 2, success=True),
                                         shutdown(3, 180, 70)), [(100, 0, 0, 50, 0), (180, 0, 0, 70, 0)]),
        ("GH 2 per leg", legs(said_out(1, 50), shutdown(2, 100, 50), said_out(3, 70), shutdown(4, 180, 70)),
         [(100, 0, 0, 50, 0), (180, 0, 0, 70, 0)]),
        ("GH 2 cumulative, messages agree", legs(said_out(1, 50), shutdown(2, 100, 50), said_out(3, 20),
                                                 shutdown(4, 180, 70)), [(80, 0, 0, 20, 0), (100, 0, 0, 50, 0)]),
        ("GH 2 crash", legs(said_out(1, 50)), []),
        ("GH 10.4 inclusive", told_by(read({db: list(store((1000, 50, 700, 200, 0)))})), [(100, 700, 200, 50, 0)]),
        ("GH 10.5 AI units", costs(stored), [25_000_000]),
        ("GH 10.5 of a journal", costs(read(journal(shutdown(1, 9, 5, totalNanoAiu=200), shutdown(2, 18, 9,
                                       totalNanoAiu=2_500_000_200)))), [2, 25_000_000]),
        ("GH 7 no AI units", costs(read({db: list(store((1000, 50, 0, 0, 0)))})), [None]),
        # A stateless reader sees one state of the store: that the old rows are kept is up to the database.
        ("GH 10.6 emptied", told_by(read({db: list(store((1, 1, 0, 0, 0), (2, 2, 0, 0, 0))) + [
            ("DELETE FROM assistant_usage_events", ()), ("DELETE FROM sqlite_sequence", ())] +
            list(store((3, 3, 0, 0, 0)))[2:]})), [(3, 0, 0, 3, 0)]),
        ("GH prompts", prompts(read(journal(line("user.message", 1, content="Hi"), line("user.message", 2, content=""),
                                            line("user.message", 3, content="<skill>", source="skill-x")))), 1)]


def gemini_cases():
    def message(mid, tokens=None, kind="gemini", **more):
        return {"id": mid, "timestamp": "2026-08-01T10:00:00.000Z", "type": kind, "content": "", "model": "m"} | \
            ({"tokens": tokens} if tokens else {}) | more

    def file(*lines, folder="shop", name="session-2026-08-01T10-00-5e551011.jsonl"):
        return {f".gemini/tmp/{folder}/chats/{name}": ({"sessionId": "5e551011", "kind": "main"},) + lines}

    some_use = {"input": 1000, "cached": 600, "output": 50, "thoughts": 30, "total": 1080}
    want, a, b = [(400, 600, 0, 80, 30)], message("a", some_use), message("b", some_use)
    old = {".gemini/tmp/shop/chats/session-2026-08-01T10-00-5e551011.json": {"sessionId": "5e551011", "messages": [a]}}
    read = lambda files: read_home(gemini, files)
    moved = read(file(a, folder="5" * 64) | file(a) | {".gemini/tmp/shop/.project_root": "/home/ada/shop\n"})
    typed = lambda *ms: prompts(read(file(*ms)))
    answer = [{"functionResponse": {"name": "read_file"}}]
    index = {".gemini/projects.json": {"projects": {"/home/ada": "shop"}}}
    project = lambda folder: read(file(a, folder=folder) | index)[0].project
    return [
        ("GE 9.1 tokens", told_by(read(file(a))), want),
        ("GE 3 tool", told_by(read(file(message("a", some_use | {"tool": 7})))), [(407, 600, 0, 80, 30)]),
        ("GE 9.2 one id, three records", told_by(read(file(message("a"), a, a))), want),
        ("GE 9.3 rewound", told_by(read(file(a, b, {"$rewindTo": "a"}))), want * 2),
        ("GE 9.4 both generations", told_by(read(file(a) | old)), want),
        ("GE 9.5 both folders", (told_by(moved), moved[0].project), (want, "/home/ada/shop")),
        ("GE 4 no path known", read(file(a))[0].project, "gemini-cli:shop"),
        ("GE 4 by projects.json", [project(f) for f in ("shop", hashlib.sha256(b"/home/ada").hexdigest())],
         ["/home/ada"] * 2),
        ("GE 9.6 message of a checkpoint", told_by(read(file({"$set": {"messages": [b]}}))), want),
        ("GE 1 sub-agent", told_by(read(file(a) | file(b, name="5e551011/x.jsonl"))), want * 2),
        ("GE 1 not a chat", told_by(read(file(a, name="checkpoint-1.json"))), []),
        ("GE prompt", typed(message("u", kind="user", content=[{"text": "Hi"}])), 1),
        ("GE prompt, slash command", typed(message("u", kind="user", content=[{"text": "Long"}],
                                                   displayContent=[{"text": "/init"}])), 1),
        ("GE prompt, answer of a tool", typed(message("u", kind="user", content=answer + [{"text": "A"}])), 0),
        ("GE prompt, go on", typed(message("u", kind="user", content=[{"text": "System: Please continue."}])), 0),
        ("GE prompt of a sub-agent", prompts(read(file(message("u", kind="user", content="Hi"), name="p/x.jsonl"))), 0)]


def cline_cases():
    def call(mid, i=35912, read=34332, cost=.5, provider="cline", **more):
        m = {"inputTokens": i, "outputTokens": 164, "cacheReadTokens": read, "cacheWriteTokens": 0, "cost": cost} | more
        return {"id": mid, "role": "assistant", "ts": 1_783_376_873_493, "metrics": {k: v for k, v in m.items()
                if v is not None}, "modelInfo": {"id": "vendor/model", "provider": provider}}

    def session(sid, *messages, stem=None, agent="lead", **more):
        base = f".cline/data/sessions/{sid}/"
        manifest = {"session_id": sid, "model": "other", "workspace_root": "/home/ada/shop",
                    "started_at": "2026-07-15T05:42:04.609Z"}
        return {f"{base}{sid}.json": manifest | more, f"{base}{stem or sid}.messages.json":
                {"sessionId": stem and f"{sid}__{stem}" or sid, "agent": agent, "messages": list(messages)}}

    def entry(ts, say, info=True, **usage):
        told = {"request": "# Current Working Directory (/home/ada/shop) Files\na"} | usage
        return {"ts": ts, "type": "say", "say": say, "text": json.dumps(told)} | \
            ({"modelInfo": {"providerId": "anthropic", "modelId": "m"}} if info else {})

    storage = ".config/Code/User/globalStorage/saoudrizwan.claude-dev"

    def task(*entries, root=storage, name="ui_messages.json", **files):
        return {f"{root}/tasks/17/{name}": list(entries)} | {f"{root}/{k}.json": v for k, v in files.items()}

    read = lambda files: read_home(cline, files)
    used = dict(tokensIn=10, tokensOut=5, cacheWrites=40, cacheReads=900, cost=.25)
    one, want, legacy = call("msg_a"), [(1580, 34332, 0, 164, 0)], [(10, 900, 40, 5, 0)]
    fork = session("a", one, metadata={"fork": {"forkedFromSessionId": "z"}})
    forked = read(fork | session("z", one))
    first, again = entry(1000, "api_req_started", **used), entry(2000, "api_req_started", **used)
    gone = entry(3000, "deleted_api_reqs", **used)
    model_of = lambda **files: read(task(entry(1000, "api_req_started", info=False, **used), **files))[0].model
    keys = lambda files: {r.key for r in read(files)}
    user = lambda content: {"id": "msg_u", "role": "user", "ts": 1, "content": content}
    feedback = {"ts": 5, "type": "say", "say": "user_feedback", "text": "Go on"}
    return [
        ("CL 1 inclusive", told_by(read(session("s", one))), want),
        ("CL 1 model of the message", read(session("s", one))[0].model, "vendor/model"),
        ("CL 2 original and fork", (told_by(forked), forked[0].session), (want, "z")),
        # A stateless reader sees the last document: that nothing is counted twice follows from the keys.
        ("CL 3 replaced", told_by(read(session("s", one, call("msg_b", 10, 0)))), [(10, 0, 0, 164, 0)] + want),
        ("CL 3 same keys", keys(session("s", one)) < keys(session("s", one, call("msg_b"))), True),
        ("CL 4 not filled yet", told_by(read(task(entry(1000, "api_req_started")))), []),
        ("CL 4 filled", (told_by(read(task(first))), costs(read(task(first)))), (legacy, [250_000_000])),
        ("CL 5 edited, first reading", told_by(read(task(again, gone))), legacy * 2),
        ("CL 5 same keys", keys(task(again)) < keys(task(first, again)), True),
        ("CL B sub-agents", told_by(read(task(first, entry(1000, "subagent_usage", **used)))), legacy * 2),
        ("CL A sub-agent beside its lead", [(r.session, r.project) for r in read(
            session("s", one, stem="kid", agent="subagent"))], [("s__kid", "/home/ada/shop")]),
        ("CL A free", costs(read(session("s", call("msg_a", cost=0)))), [0]),
        ("CL A no cost", costs(read(session("s", call("msg_a", cost=None)))), [None]),
        ("CL B no cost", costs(read(task(entry(1, "api_req_started", **used | {"cost": 0})))), [None]),
        ("CL A inner agent", told_by(read(session("s", call("msg_a", provider="claude-code")))), []),
        ("CL B project", read(task(first))[0].project, "/home/ada/shop"),
        ("CL B model of the index", model_of(**{"state/taskHistory": [{"id": "17", "modelId": "h"}]}), "h"),
        ("CL B model of the task", model_of(**{"tasks/17/task_metadata": {"model_usage": [
            {"ts": 5, "model_id": "u"}]}}), "u"),
        ("CL B no model", model_of(), "unknown"),
        ("CL B places", told_by(read(task(first, name="claude_messages.json") | task(again, root=".cline/data") |
                                     task(gone, root=storage.replace("Code", "VSCodium")))), legacy * 3),
        ("CL prompts", prompts(read(session("s", user([{"type": "text", "text": "Hi"}])))), 1),
        ("CL prompts, tool result", prompts(read(session("s", user([{"type": "tool_result", "text": "Hi"}])))), 0),
        ("CL prompts of a lead", prompts(read(session("s", user("Hi"), stem="kid", agent="subagent"))), 0),
        ("CL prompts, legacy", prompts(read(task(entry(1, "task"), feedback, feedback | {"ts": 6, "text": ""}))), 2)]


def pi_cases():
    t, day = 1_788_256_800_000, "2026-09-01T10:00:00.000Z"

    def call(at, i=3, o=200, read=9000, write=500, cost=.01, **more):
        usage = {"input": i, "output": o, "cacheRead": read, "cacheWrite": write, "cost": {"total": cost}}
        return {"type": "message", "timestamp": day, "message": {"role": "assistant", "model": "m", "provider": "p",
                "usage": usage | more, "timestamp": t + at}}

    def user(at, content="Hi", **more):
        return {"type": "message", "timestamp": day, "message": {"role": "user", "content": content,
                "timestamp": t + at} | more}

    def file(sid, *lines, folder="--shop--", agent=".pi", name=None, **more):
        head = {"type": "session", "id": sid, "timestamp": "2026-09-01T11:00:00.000Z", "cwd": "/home/ada/" + sid}
        return {f"{agent}/agent/sessions/{folder}/{name or '2026-09-01T11-00-00-000Z_' + sid}.jsonl":
                ((head | more,) if sid else ()) + lines}

    read = lambda files: read_home(pi, files)
    want, one = [(3, 9000, 500, 200, 0)], call(1)
    forked = read(file("b", one, user(2)) | file("a", one, user(2), parentSession="b"))
    title = {"type": "title", "v": 1, "title": "T"}
    torn = read(file("", one, name="2026-09-01T11-00-00-000Z_c"))
    mine = file("b", one)
    titled = read({name: (title,) + lines for name, lines in mine.items()})
    kid = dict(folder="--shop--/2026-09-01T11-00-00-000Z_b", name="Scout")
    result = {"type": "message", "timestamp": day, "message": {"role": "toolResult", "details": {"results": [
        {"messages": [one["message"]], "usage": {"input": 99}}]}}}
    summary = {"type": "compaction", "timestamp": day, "usage": one["message"]["usage"]}
    return [
        ("PI 9.1 file and fork", (told_by(forked), prompts(forked), {r.session for r in forked}), (want, 1, {"b"})),
        ("PI 9.2 all zero", told_by(read(file("b", call(1, 0, 0, 0, 0)))), []),
        ("PI 9.3 title first", (told_by(titled), titled[0].session, titled[0].project), (want, "b", "/home/ada/b")),
        ("PI 9.4 no header", (told_by(torn), torn[0].session, torn[0].project), (want, "c", "pi:unknown")),
        ("PI 3 cost", (costs(forked), costs(read(file("b", call(1, cost=0))))), ([10_000_000], [None])),
        ("PI 1 OMP", told_by(read(file("b", one, agent=".omp") | file("c", call(2), agent=".pi"))), want * 2),
        ("PI 1 not a session", told_by(read(file("b", one, folder="--shop--/artifacts", name="x"))), []),
        ("PI subagent", [(r.session, r.role) for r in read(file("k", user(1), call(2), **kid))], [("b", "assistant")]),
        ("PI subagent not kept", told_by(read(file("b", result))), want),
        ("PI subagent kept and told", told_by(read(file("b", result) | file("k", one, **kid))), want),
        ("PI summary", [(r.model, r.cost) for r in read(file("b", summary, modelId="s"))], [("s", 10_000_000)]),
        ("PI reasoning", told_by(read(file("b", call(1, reasoning=7)))), [(3, 9000, 500, 200, 7)]),
        ("PI prompts", prompts(read(file("b", user(1), user(2, " "), user(3, [{"type": "image"}]),
                                         user(4, synthetic=True)))), 2)]


def self_test():
    """PR 6: vectors 1-16 and 18; the edge cases of the sheets OC, GH, GE, CL, PI by their rows. Of the vectors,
    Claude counts are disjoint, OpenAI ones inclusive."""
    def cc(model, i=0, o=0, w5=0, w1=0, r=0, web=0, speed="standard", geo="", day="2026-09-01T00:00:00Z"):
        use = dict(zip(TOKENS, (i, o, r, w5 + w1, w1, 0, web))) | {"speed": speed}
        return price(model, ts_ms(day), use, geo)

    def cx(model, i, cached, o, write=0, think=0, tier=None, day="2026-09-01T00:00:00Z", is_sum=False):
        return price(model, ts_ms(day), codex_usage((i, cached, write, o, think), tier), is_sum=is_sum)

    one = dict(i=10, o=500, w5=2000, w1=8000, r=100000)
    six = dict(i=16, o=2621, w5=48454, r=226784)
    op5, s46, sol = "claude-opus-5", "claude-sonnet-4-6", ("gpt-5.6-sol", 30000, 20000, 1000, 8000, 300)
    cases = [
        ("1", cc(op5, **one), ".15505"), ("2", cc(op5, **one, speed="fast"), ".3101"),
        ("3a", cc(op5, **one, web=2), ".17505"), ("3b", cc(op5, **one, web=2, speed="fast"), ".3301"),
        ("4", cc(op5, **one, geo="us"), ".170555"), ("5", cc("claude-fable-5-1", **one), ".2351"),
        ("6", cc("claude-sonnet-4-5", **six, day="2025-12-01T00:00:00Z"), ".5585439"),
        ("7", cc(s46, **six, day="2026-04-01T00:00:00Z"), ".2891007"),
        ("8", cc(s46, **six, day="2026-03-12T23:59:59Z"), ".5585439"),
        ("9a", cc("claude-haiku-5-5", 100000, 1000), ".0105"),
        ("9b", cc("claude-haiku-5-5", 100001, 1000), ".0525005"),
        ("10a", cx("gpt-5.5", 120000, 100000, 2000), ".21"),
        ("10b", cx("gpt-5.5", 120000, 100000, 2000, tier="fast"), ".525"),
        ("11a", cx("gpt-5.5", 272000, 200000, 1000), ".49"),
        ("11b", cx("gpt-5.5", 272001, 200000, 1000), ".96501"),
        ("11b of several requests", cx("gpt-5.5", 272001, 200000, 1000, is_sum=True), ".490005"),
        ("12a", cx(*sol), ".076"), ("12b", cx(*sol, day="2026-08-20T00:00:00Z"), ".1"),
        ("13", cx("gpt-5-codex", 1000, 1000, 0), ".000125"),
        ("14", cc("claude-opus-4-1-20250805", 1000, 100), ".0225"),
        ("15", cc("us.anthropic.claude-opus-4-6-v1:0", 1000), ".005"),
        ("16a", cc("claude-opus-9", 1), None), ("16b", cc("<synthetic>", 1), None), ("16c", cc("", 1), None),
        ("18", half_up(62_500, 1000), ".000000063")]
    cases = [(f"vector {name}", got, None if want is None else int(Decimal(want) * 10**9)) for name, got, want in cases]
    cases += opencode_cases() + copilot_cases() + gemini_cases() + cline_cases() + pi_cases()
    failed = 0
    for name, got, want in cases:
        if got != want:
            failed += 1
            print(f"{name}: got {got}, expected {want}")
    print(f"{len(cases) - failed} passed, {failed} failed")
    return 1 if failed else 0


BOOK = build_book()


def main():
    ap = argparse.ArgumentParser(description="What the totals of a home directory must be.")
    ap.add_argument("home", nargs="?")
    ap.add_argument("--json", action="store_true", help="everything, as JSON")
    ap.add_argument("--stats", action="store_true", help="what was met on the way, to stderr")
    ap.add_argument("--self-test", action="store_true", help="run the test vectors and edge cases of the sheets")
    a = ap.parse_args()
    if a.self_test:
        return self_test()
    if not a.home or not os.path.isdir(a.home):
        ap.error("HOME must be a directory")
    result = {"claude-code": totals(claude(a.home), priced=True), "codex": totals(codex(a.home), priced=True),
              "opencode": totals(opencode(a.home)), "github-copilot": totals(copilot(a.home)),
              "gemini-cli": totals(gemini(a.home)), "cline": totals(cline(a.home)),
              "pi": totals(pi(a.home))}
    if a.json:
        print(json.dumps(result, indent=1))
    else:
        for provider, m in result.items():
            print(provider, " ".join(f"{k}={v}" for k, v in m.items() if isinstance(v, int)))
    if a.stats:
        for k, v in sorted(STATS.items(), key=str):
            if v:
                print(f"{v:8}  {', '.join(map(str, k))}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
