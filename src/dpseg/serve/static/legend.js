// What was found: names with colours and areas, each to be switched on and off.

import { element } from "./chips.js";

/** Write a share of the photo for people. */
export function percent(share) {
  if (share > 0 && share < 0.001) return "<0.1%";
  return share < 0.0995 ? `${(100 * share).toFixed(1)}%` : `${Math.round(100 * share)}%`;
}

/** Say how likely a name is in the photo at all; models may not tell. */
const withPresence = ({ name, presence }) =>
  presence === null ? name : `${name} (presence ${percent(presence)})`;

export class Legend {
  /** @param {{list: HTMLElement, missing: HTMLElement, toggleAll: HTMLButtonElement,
   *   hidden: (hidden: Set<number>) => void, pointed: (index: number|null) => void}} parts */
  constructor(parts) {
    Object.assign(this, parts);
    this.toggleAll.addEventListener("click", () => this.#toggleAll());
  }

  show(result) {
    this.off = new Set();
    this.rows = new Map();
    const found = result.classes.filter(({ pixels }) => pixels > 0).sort((a, b) => b.area - a.area);
    const largest = found[0]?.area ?? 1;
    this.list.replaceChildren(...found.map((entry) => this.#row(entry, largest)));
    if (result.unlabelled_area > 0.0005) {
      const rest = element("li", "rest");
      rest.append(element("span", "", "unlabelled"), element("span", "", percent(result.unlabelled_area)));
      this.list.append(rest);
    }
    const missing = result.classes.filter(({ pixels }) => !pixels).map(withPresence);
    this.missing.hidden = !missing.length;
    const some = missing.slice(0, 12).join(", ");
    const more = missing.length > 12 ? ` and ${missing.length - 12} more` : "";
    this.missing.textContent = `Not found: ${some}${more}.`;
    this.toggleAll.hidden = found.length < 2;
    this.toggleAll.textContent = "Hide all";
  }

  /** Let one row stand out; null for none. */
  highlight(index) {
    this.rows?.forEach((row, key) => row.classList.toggle("hot", key === index));
  }

  #row(entry, largest) {
    const row = element("li");
    const label = element("label");
    const box = element("input");
    box.type = "checkbox";
    box.checked = true;
    box.style.accentColor = entry.colour;
    box.addEventListener("change", () => this.#toggle([entry.index], box.checked));
    const rule = element("span", "rule");
    const filled = element("span");
    filled.style.width = `${(100 * entry.area) / largest}%`;
    filled.style.background = entry.colour;
    rule.append(filled);
    const name = element("span", "name");
    const dot = element("span", "dot");
    dot.style.background = entry.colour;
    name.append(dot, entry.name);
    label.append(box, name, element("span", "area", percent(entry.area)), rule);
    if (entry.presence !== null) {
      label.append(element("span", "presence", `presence ${percent(entry.presence)}`));
    }
    row.append(label);
    row.addEventListener("pointerenter", () => this.pointed(entry.index));
    row.addEventListener("pointerleave", () => this.pointed(null));
    box.addEventListener("focus", () => this.pointed(entry.index));
    box.addEventListener("blur", () => this.pointed(null));
    this.rows.set(entry.index, row);
    return row;
  }

  #toggle(indices, on) {
    for (const index of indices) {
      this.off[on ? "delete" : "add"](index);
      const row = this.rows.get(index);
      row.classList.toggle("off", !on);
      row.querySelector("input").checked = on;
    }
    this.toggleAll.textContent = this.off.size === this.rows.size ? "Show all" : "Hide all";
    this.hidden(this.off);
  }

  #toggleAll() {
    this.#toggle([...this.rows.keys()], this.off.size === this.rows.size);
  }
}
