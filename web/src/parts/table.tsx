// Tables that are sorted by their headings; the order stands in the address.

import type { ComponentChildren, JSX } from "preact";
import { go, place } from "../place";

export interface Column<Row> {
  /** Its name in the address. */
  key: string;
  title: string;
  cell: (row: Row) => ComponentChildren;
  /** What rows are sorted by; a column without it cannot be sorted by. */
  value?: (row: Row) => number | string;
  isText?: boolean;
  /** Text that begins with the newest. */
  isTime?: boolean;
  /** Left out where there is less room than that: of half a window, or of a whole one. */
  needs?: "half" | "whole";
  /** Share of the width, of a table whose columns have fixed ones. */
  width?: string;
}

/** Column and direction: `-cost` is the largest first. */
function parseSort(sort: string): { key: string; isDescending: boolean } {
  const isDescending = sort.startsWith("-");
  return { key: isDescending ? sort.slice(1) : sort, isDescending };
}

/** Rows in the order of the address; equal ones by their key, as the service has them. */
function sorted<Row>({ rows, columns, usual, keyOf }: TableProps<Row>): Row[] {
  const { key, isDescending } = parseSort(place.value.sort || usual);
  const value = columns.find((column) => column.key === key)?.value;
  if (!value) {
    return rows;
  }
  const direction = isDescending ? -1 : 1;
  return rows.toSorted((a, b) => {
    const [left, right] = [value(a), value(b)];
    if (left === right) {
      return keyOf(a) < keyOf(b) ? -1 : 1;
    }
    return left < right ? -direction : direction;
  });
}

/** The classes of a cell. */
export function cellClass<Row>(column: Column<Row>): string {
  return `${column.isText ? "" : "number"} ${column.needs ? `needs-${column.needs}` : ""}`.trim();
}

export function Head<Row>({ columns, usual }: { columns: Column<Row>[]; usual: string }) {
  const { key, isDescending } = parseSort(place.value.sort || usual);
  return (
    <thead>
      <tr>
        {columns.map((column) => {
          const isSorted = column.key === key;
          const direction = isDescending ? "descending" : "ascending";
          // Names begin with a, figures with the largest; a second click turns it round.
          const isNextDescending = isSorted ? !isDescending : !column.isText || column.isTime;
          return (
            <th
              key={column.key}
              scope="col"
              class={cellClass(column)}
              aria-sort={isSorted ? direction : undefined}
              style={{ width: column.width }}
            >
              {column.value ? (
                <button
                  type="button"
                  onClick={() => go({ sort: `${isNextDescending ? "-" : ""}${column.key}` })}
                >
                  {column.title}
                </button>
              ) : (
                column.title
              )}
            </th>
          );
        })}
      </tr>
    </thead>
  );
}

interface TableProps<Row> {
  label: string;
  columns: Column<Row>[];
  rows: Row[];
  /** The order if none is asked for. */
  usual: string;
  keyOf: (row: Row) => string;
  foot?: JSX.Element;
}

export function Table<Row>(props: TableProps<Row>) {
  const { label, columns, usual, keyOf, foot } = props;
  return (
    <div class="scroll">
      <table aria-label={label}>
        <Head columns={columns} usual={usual} />
        <tbody>
          {sorted(props).map((row) => (
            <tr key={keyOf(row)} data-key={keyOf(row)}>
              {columns.map((column) => (
                <td key={column.key} class={cellClass(column)}>
                  {column.cell(row)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
        {foot}
      </table>
    </div>
  );
}
