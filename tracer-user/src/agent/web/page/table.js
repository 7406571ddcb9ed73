// A table that is sorted by its headers and changed in place: what has focus or is selected stays so.
//
// In: columns and rows. Out: an element. Rows are known by a key; only cells whose text has changed are touched.

import { h, isSelected, mark, say } from "./dom.js";

const ORDERS = { 1: "ascending", "-1": "descending" };

/** Unknown values come last in either order. */
function compare(a, b, order) {
  if (a == null || b == null) return (a == null) - (b == null);
  return order * (typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b);
}

/** Rows of whose words each part of the filter is in one. */
export const byWords = words => filter => {
  const parts = filter.toLowerCase().split(/\s+/);
  return row => {
    const text = words(row).toLowerCase();
    return parts.every(part => text.includes(part));
  };
};

export class Table {
  /**
   * Columns: { key, title, hint, value: row => what it is sorted by, show: row => text, draw: (cell, row) => any,
   * isText, most: the order of the first click }.
   */
  constructor({ caption, columns, key, sort, order = -1, matcher = () => () => true }) {
    Object.assign(this, { columns, key, matcher, sort, order, filter: "", rows: [], lines: new Map(), shown: 0 });
    this.heads = columns.map(column => this.head(column));
    this.body = h("tbody");
    this.element = h("div", { class: "scroll" },
      h("table", {}, h("caption", { class: "unseen" }, caption), h("thead", {}, h("tr", {}, this.heads)), this.body));
    this.tell();
  }

  head(column) {
    const sort = () => {
      this.order = this.sort === column.key ? -this.order : column.isText ? 1 : -1;
      this.sort = column.key;
      this.tell();
      this.draw();
    };
    const button = h("button", { type: "button", title: column.hint, click: sort }, column.title);
    return h("th", { scope: "col", class: column.isText ? "text" : null, "data-key": column.key }, button);
  }

  tell() {
    this.heads.forEach((head, at) =>
      mark(head, "aria-sort", this.columns[at].key === this.sort ? ORDERS[this.order] : "none"));
  }

  /** Shows these rows from now on. */
  set(rows) {
    this.rows = rows;
    return this.draw();
  }

  /** Shows only rows that match: `matcher` makes of the text what tells. */
  only(filter) {
    this.filter = filter.trim();
    this.draw();
  }

  /** Says false where it stands still, since somebody has selected something in it. */
  draw() {
    if (isSelected(this.body)) return false;
    const column = this.columns.find(one => one.key === this.sort);
    const rows = this.filter ? this.rows.filter(this.matcher(this.filter)) : [...this.rows];
    rows.sort((a, b) => compare(column.value(a), column.value(b), this.order) || compare(this.key(a), this.key(b), 1));
    const lines = rows.map(row => this.line(row));
    const left = new Set(lines);
    for (const [key, line] of this.lines) {
      if (left.has(line)) continue;
      line.remove();
      this.lines.delete(key);
    }
    this.arrange(lines);
    this.shown = lines.length;
    return true;
  }

  line(row) {
    const key = this.key(row);
    let line = this.lines.get(key);
    if (!line) {
      line = h("tr", {}, this.columns.map((column, at) =>
        h(at === 0 ? "th" : "td", { class: column.isText ? "text" : null, scope: at === 0 ? "row" : null })));
      this.lines.set(key, line);
    }
    this.columns.forEach((column, at) => {
      const cell = line.children[at];
      if (column.draw) column.draw(cell, row);
      else say(cell, column.show(row));
    });
    return line;
  }

  /** Puts lines in order around the one that has the focus: what is moved loses it. */
  arrange(lines) {
    const body = this.body;
    if (lines.length === body.children.length && lines.every((line, at) => body.children[at] === line)) return;
    const fixed = lines.findIndex(line => line.contains(document.activeElement));
    lines.slice(0, Math.max(fixed, 0)).forEach(line => body.insertBefore(line, lines[fixed]));
    body.append(...lines.slice(fixed + 1));
  }
}
