/** Random numbers that are the same in every run. */
export class Random {
  #state: number;

  constructor(seed: number) {
    // Nothing follows zero.
    this.#state = seed | 0 || 1;
    for (let i = 0; i < 8; i += 1) this.next();
  }

  /** From 0 up to 1. */
  next(): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return (this.#state >>> 0) / 2 ** 32;
  }

  chance(share: number): boolean {
    return this.next() < share;
  }

  /** Whole numbers, both bounds included. */
  between(least: number, most: number): number {
    return least + Math.floor(this.next() * (most - least + 1));
  }

  /** Mostly near `median`, now and then several times as much: how people's figures spread. */
  around(median: number, spread: number): number {
    let sum = -3;
    for (let i = 0; i < 6; i += 1) sum += this.next();
    return Math.round(median * Math.exp(spread * sum));
  }

  /** One of the choices, as often as its weight says. */
  pick<T>(choices: readonly (readonly [T, number])[]): T {
    let left = this.next() * choices.reduce((sum, [, weight]) => sum + weight, 0);
    for (const [choice, weight] of choices) {
      left -= weight;
      if (left < 0) return choice;
    }
    const last = choices.at(-1);
    if (!last) throw new Error("nothing to pick from");
    return last[0];
  }

  hex(digits: number): string {
    return Array.from({ length: digits }, () => this.between(0, 15).toString(16)).join("");
  }

  uuid(version: 4 | 7 = 4): string {
    const variant = "89ab"[this.between(0, 3)];
    return [
      this.hex(8),
      this.hex(4),
      `${version}${this.hex(3)}`,
      `${variant}${this.hex(3)}`,
      this.hex(12),
    ].join("-");
  }
}
