#!/usr/bin/env python3
"""Independent check: what the totals of a home directory must be.

    python3 tests/oracle.py HOME [--json] [--stats]   totals of HOME (table, or everything as JSON)
    python3 tests/oracle.py --self-test               test vectors of the price sheet

Written straight from the provider sheets (Claude Code = "CC", Codex = "CX", pricing = "PR"; the
numbers in comments are their sections and rules). It shares no code with the program it checks, keeps
everything in memory and reads whole files: clarity first. A choice the sheets leave open says CHOICE.
"""
import argparse, collections, hashlib, json, os, re, sys
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


def price(model, ts, use, geo=None):
    """Nano-USD of one call, or None. `use` holds the four disjoint counts, w1h, searches, speed."""
    row = price_row(model, ts)
    if row is None:
        return None
    n = {"in": use["input_tokens"], "out": use["output_tokens"], "read": use["cache_read_tokens"],
         "w1h": use["cache_create_1h_tokens"],
         "w5m": use["cache_create_tokens"] - use["cache_create_1h_tokens"]}
    total_in = n["in"] + n["read"] + n["w5m"] + n["w1h"]
    p = row.long if row.above and total_in > row.above else row.base   # PR 4: cliff, strictly greater
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
    owner = min(statements, key=lambda s: (s.rank, s.side, s.session, s.cwd))
    row = NS(key=best.key, role=best.role, model=best.model, use=best.use, ts=min(s.ts for s in statements),
             session=owner.session, project=owner.project, cost=0)
    if best.role == "assistant":
        row.cost = best.logged or (price(best.model, row.ts, best.use, best.geo) if best.priced else None)
    STATS["rank of stored usage", best.role, best.rank] += 1
    return row


def statement(key, role, session, project, cwd, ts, model="", use=None, **more):
    fields = dict(rank=0, geo="", logged=None, priced=True, side=False, req=None, file=None, kind=role)
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
        usd = o.get("costUSD")
        logged = half_up(*(Decimal(str(usd)) * 10**9).as_integer_ratio()) \
            if isinstance(usd, (int, float)) and usd > 0 else None
        who |= dict(ts=ts, req=req, kind=o["type"])
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

    def emit(key, c, own_model, ts):
        if not any(codex_usage(c, None)[k] for k in TOKENS):
            return None
        row = statement(key, "assistant", t.session, s.cwd or "codex:unknown", s.cwd, ts, side=t.sub,
                        model=own_model or s.model, use=codex_usage(c, s.tier), priced=not foreign)
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
                    row = emit(key, step, text(p.get("model")) or text(info.get("model")), now)
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


# ----------------------------------------------------------------------------------------------- totals
def measures():
    return {"events": 0, "prompts": 0} | dict.fromkeys(TOKENS, 0) | {"cost_nanousd": 0, "unpriced": 0}


def add(m, row):
    m["events" if row.role == "assistant" else "prompts"] += 1
    for k in TOKENS:
        m[k] += row.use[k]
    m["cost_nanousd"] += row.cost or 0
    m["unpriced"] += row.cost is None                          # prompts cost 0, never None


def totals(rows):
    out = measures()
    tables = {name: collections.defaultdict(measures) for name in ("models", "sessions", "days_utc")}
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


def self_test():
    """PR 6: vectors 1-16 and 18. Claude counts are disjoint, OpenAI ones inclusive."""
    def cc(model, i=0, o=0, w5=0, w1=0, r=0, web=0, speed="standard", geo="", day="2026-09-01T00:00:00Z"):
        use = dict(zip(TOKENS, (i, o, r, w5 + w1, w1, 0, web))) | {"speed": speed}
        return price(model, ts_ms(day), use, geo)

    def cx(model, i, cached, o, write=0, think=0, tier=None, day="2026-09-01T00:00:00Z"):
        return price(model, ts_ms(day), codex_usage((i, cached, write, o, think), tier))

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
        ("12a", cx(*sol), ".076"), ("12b", cx(*sol, day="2026-08-20T00:00:00Z"), ".1"),
        ("13", cx("gpt-5-codex", 1000, 1000, 0), ".000125"),
        ("14", cc("claude-opus-4-1-20250805", 1000, 100), ".0225"),
        ("15", cc("us.anthropic.claude-opus-4-6-v1:0", 1000), ".005"),
        ("16a", cc("claude-opus-9", 1), None), ("16b", cc("<synthetic>", 1), None), ("16c", cc("", 1), None),
        ("18", half_up(62_500, 1000), ".000000063")]
    failed = 0
    for name, got, want in cases:
        want = None if want is None else int(Decimal(want) * 10**9)
        if got != want:
            failed += 1
            print(f"vector {name}: got {got}, expected {want} nano-USD")
    print(f"{len(cases) - failed} passed, {failed} failed")
    return 1 if failed else 0


BOOK = build_book()


def main():
    ap = argparse.ArgumentParser(description="What the totals of a home directory must be.")
    ap.add_argument("home", nargs="?")
    ap.add_argument("--json", action="store_true", help="everything, as JSON")
    ap.add_argument("--stats", action="store_true", help="what was met on the way, to stderr")
    ap.add_argument("--self-test", action="store_true", help="run the test vectors of the price sheet")
    a = ap.parse_args()
    if a.self_test:
        return self_test()
    if not a.home or not os.path.isdir(a.home):
        ap.error("HOME must be a directory")
    result = {"claude-code": totals(claude(a.home)), "codex": totals(codex(a.home))}
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
