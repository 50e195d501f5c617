// What keys do, and the list of them.

import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { rangeOfKey } from "./parts/filters";
import { go, goBack, place, VIEWS, type View } from "./place";

export const isHelpOpen = signal(false);

const KEYS: [string, string][] = [
  ["1 to 6", "the views, from overview to health"],
  ["t w d m q y a", "today, 7 days, 30 days, this month, 90 days, 12 months, all"],
  ["/", "choose a project"],
  ["↑ ↓", "from row to row of the sessions; enter opens one"],
  ["Esc", "back from a session, or close what is open"],
  ["?", "this list"],
];

/** Who dictates to the machine would press a key with every word, and switches them off. */
const areKeysOn = signal(stored() !== "off");

/** A browser may keep nothing at all: then the choice holds as long as the page is open. */
function stored(): string | null {
  try {
    return localStorage.getItem("keys");
  } catch {
    return null;
  }
}

function switchKeys(areOn: boolean): void {
  areKeysOn.value = areOn;
  try {
    localStorage.setItem("keys", areOn ? "on" : "off");
  } catch {
    // See above.
  }
}

export function onKey(event: KeyboardEvent): void {
  const target = event.target as Element;
  const isTyping = target.matches("input, select, textarea");
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping) {
    return;
  }
  if (event.key !== "Escape" && !areKeysOn.value) {
    return;
  }
  // The list itself knows: it tells of having been closed a moment later.
  const isListOpen = document.querySelector("dialog[open]") !== null;
  if (isListOpen && event.key !== "?") {
    // Escape closes the list by itself; what is behind it stays.
    return;
  }
  const view = (Object.keys(VIEWS) as View[])[Number(event.key) - 1];
  const range = rangeOfKey(event.key);
  if (view) {
    go({ view });
  } else if (range) {
    go({ range });
  } else if (event.key === "Escape" && place.value.session !== "") {
    goBack({ view: "sessions" });
  } else if (event.key === "?") {
    isHelpOpen.value = !isListOpen;
  } else if (event.key === "/") {
    document.querySelector<HTMLElement>('.filters [aria-label^="Project"]')?.click();
  } else {
    return;
  }
  event.preventDefault();
}

export function Help() {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (isHelpOpen.value) {
      dialog.current?.showModal();
    } else {
      dialog.current?.close();
    }
  }, [isHelpOpen.value]);
  return (
    <dialog
      ref={dialog}
      aria-labelledby="keys"
      onClose={() => {
        isHelpOpen.value = false;
      }}
    >
      <h2 id="keys">Keys</h2>
      <dl>
        {KEYS.map(([key, does]) => [
          <dt key={key}>
            <kbd>{key}</kbd>
          </dt>,
          <dd key={`${key} does`}>{does}</dd>,
        ])}
      </dl>
      <label>
        <input
          type="checkbox"
          checked={areKeysOn.value}
          onChange={(event) => switchKeys(event.currentTarget.checked)}
        />{" "}
        letters, digits, / and ? are keys
      </label>
      <form method="dialog">
        <button type="submit" autofocus>
          Close
        </button>
      </form>
    </dialog>
  );
}
