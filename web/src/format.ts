// Figures as people read them.

const NANO = 1e9;

const dollars = new Intl.NumberFormat("en-US", { style: "currency", currency: "USD" });
const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

/** `$1,234.50`; what would be shown as nothing and is something is `<$0.01`. */
export function money(nanousd: number): string {
  if (nanousd > 0 && nanousd < 0.005 * NANO) {
    return "<$0.01";
  }
  return dollars.format(nanousd / NANO);
}

/** A cost whose part without a known price is never shown as nothing: `$1.20 + ?`, `unpriced`. */
export function cost(nanousd: number, unpriced: number): string {
  if (unpriced === 0) {
    return money(nanousd);
  }
  return nanousd > 0 ? `${money(nanousd)} + ?` : "unpriced";
}

/** `1,234`. */
export function count(n: number): string {
  return whole.format(n);
}

/** `1 call`, `1,234 calls`. */
export function counted(n: number, noun: string): string {
  return `${count(n)} ${noun}${n === 1 ? "" : "s"}`;
}

const UNITS = [
  { size: 1e12, unit: "T" },
  { size: 1e9, unit: "B" },
  { size: 1e6, unit: "M" },
  { size: 1e3, unit: "k" },
];

/** Three digits and a unit: `999`, `12.3 k`, `1.23 M`. */
export function tokens(n: number): string {
  for (const { size, unit } of UNITS) {
    // What rounds up to a thousand of one unit is one of the next.
    if (n >= size * 0.9995 && n >= 1000) {
      const value = n / size;
      const digits = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
      return `${value.toFixed(digits)} ${unit}`;
    }
  }
  return count(n);
}

/** `62 %`; small shares keep a digit, none is shown as nothing, and only all is shown as all. */
export function percent(share: number): string {
  const value = share * 100;
  if (value > 0 && value < 0.05) {
    return "<0.1 %";
  }
  if (value > 99 && value < 100) {
    return `${Math.min(value, 99.9).toFixed(1)} %`;
  }
  return `${value > 0 && value < 9.95 ? value.toFixed(1) : whole.format(value)} %`;
}

/** Minutes as `2 h 05 min`. */
export function minutes(n: number): string {
  const hours = Math.floor(n / 60);
  const rest = Math.floor(n % 60);
  return hours === 0 ? `${rest} min` : `${hours} h ${String(rest).padStart(2, "0")} min`;
}

/** `1.2 GB`, in powers of a thousand. */
export function bytes(n: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = n;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value >= 99.95 || unit === 0 ? whole.format(value) : value.toFixed(1)} ${units[unit]}`;
}

/** How long ago, in the largest unit: `12 s ago`, `3 d ago`. */
export function ago(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) {
    return `${seconds} s ago`;
  }
  if (seconds < 3600) {
    return `${Math.floor(seconds / 60)} min ago`;
  }
  if (seconds < 86_400) {
    return `${Math.floor(seconds / 3600)} h ago`;
  }
  return `${count(Math.floor(seconds / 86_400))} d ago`;
}

/** `Mon 14 Sep 2026`, of a day like 2026-09-14. */
export function day(day: string): string {
  const parts = { weekday: "short", day: "numeric", month: "short", year: "numeric" } as const;
  return formatted(Date.parse(`${day}T00:00:00Z`), "UTC", parts);
}

/** `14 Sep`. */
export function shortDay(day: string): string {
  return formatted(Date.parse(`${day}T00:00:00Z`), "UTC", { day: "numeric", month: "short" });
}

/** `Sep 2026`, of a month like 2026-09. */
export function month(month: string): string {
  const parts = { month: "short", year: "numeric" } as const;
  return formatted(Date.parse(`${month}-01T00:00:00Z`), "UTC", parts);
}

/** `14:03:22`, in the zone that days are counted in. */
export function clock(ts: string | number, zone: string): string {
  const parts = { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false } as const;
  return formatted(new Date(ts).getTime(), zone, parts);
}

/** `14 Sep, 14:03`, with the year if it is another than this one. */
export function moment(ts: string | number, zone: string): string {
  const ms = new Date(ts).getTime();
  const parts = { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" } as const;
  const yearOf = (ms: number) => formatted(ms, zone, { year: "numeric" });
  const isThisYear = yearOf(ms) === yearOf(Date.now());
  const year = isThisYear ? {} : ({ year: "numeric" } as const);
  return formatted(ms, zone, { ...parts, ...year, hour12: false });
}

const formats = new Map<string, Intl.DateTimeFormat>();

/** Making a format takes a hundred times longer than using it. */
function formatted(ms: number, zone: string, parts: Intl.DateTimeFormatOptions): string {
  const key = zone + JSON.stringify(parts);
  let format = formats.get(key);
  if (!format) {
    format = dateFormat(zone, parts);
    formats.set(key, format);
  }
  // Without a comma after the weekday, and all months of three letters.
  return Number.isNaN(ms)
    ? ""
    : format
        .format(ms)
        .replace(/^(\w{3}), /, "$1 ")
        .replace("Sept", "Sep");
}

/** A zone that the browser does not know is shown in the browser's own. */
function dateFormat(zone: string, parts: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  try {
    return new Intl.DateTimeFormat("en-GB", { ...parts, timeZone: zone });
  } catch {
    return new Intl.DateTimeFormat("en-GB", parts);
  }
}

/** The last part of a folder's path, `engine` of `/home/ada/engine`. */
export function folderName(path: string): string {
  const parts = path.split(/[/\\]/).filter((part) => part !== "");
  return parts.at(-1) ?? path;
}
