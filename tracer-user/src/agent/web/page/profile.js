// A profile, or a comparison of two: inferno's flame graph, the functions of it in a table, and links to fetch it.
//
// In: an address that takes `format` and `value`. Out: an element. The picture has a document of its own
// (flame.html), so that no script in a picture runs, and inferno's script sees nothing of the page.

import { ask, fetched, text } from "./ask.js";
import { h, say } from "./dom.js";
import { Table } from "./table.js";
import { amount, counted, percent, NOTHING } from "./text.js";

const FORMATS = { pprof: "pprof", folded: "folded stacks", svg: "SVG", html: "page", json: "JSON" };
/** Functions that the table has. */
const ROWS = 200;

/** What a frame is called, so that nothing else matches. */
const exactly = name => `^${name.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}$`;

function matching(filter) {
  try {
    const wanted = new RegExp(filter);
    return row => wanted.test(row.function);
  } catch {
    return () => false;
  }
}

export class ProfileView {
  /** `value`: in pprof's words; `hint` is said above; `formats`: what can be fetched. */
  constructor({ address, value = null, hint = "", formats = Object.keys(FORMATS), title }) {
    Object.assign(this, { base: address, value, formats, title });
    this.about = h("p", { class: "faint" }, hint);
    this.said = h("p", { role: "status" });
    this.search = h("input", { type: "search", "data-filter": true, autocomplete: "off", placeholder: "text or regular expression", input: () => this.later() });
    this.matched = h("span", { role: "status", class: "matched" });
    this.choice = h("select", { change: () => this.choose() });
    this.choiceLabel = h("label", { hidden: true }, "Show ", this.choice);
    this.links = h("span", { class: "links" });
    const again = h("button", { type: "button", click: () => this.load() }, "Look again");
    this.bar = h("p", { class: "bar" }, h("label", { class: "grow" }, "Search ", this.search), this.matched,
      h("button", { type: "button", click: () => this.frame?.contentWindow?.whole?.() }, "Whole"), this.choiceLabel, again);
    this.picture = h("div", { class: "picture" });
    this.functions = h("div", { class: "functions" });
    this.element = h("div", { class: "profile" }, this.bar, this.said, h("div", { class: "sides" }, this.picture, this.functions), this.about, this.links);
  }

  address(format, value = this.value) {
    const more = new URLSearchParams({ format, ...(value && { value }) });
    return `${this.base}${this.base.includes("?") ? "&" : "?"}${more}`;
  }

  async load() {
    const mine = (this.loading = {});
    const isMine = () => this.loading === mine;
    say(this.said, "Looking …");
    try {
      const functions = await ask(this.address("functions"));
      if (!isMine()) return;
      this.tell(functions);
      const drawn = await text(this.address("svg"));
      if (!isMine()) return;
      say(this.said, "");
      this.show(drawn);
    } catch (error) {
      if (isMine()) say(this.said, error.message);
      if (error.status === undefined) throw error;
    }
  }

  /** What there is to choose, the table, and links. */
  tell(told) {
    const { values, value } = told;
    this.choiceLabel.hidden = values.length < 2;
    if (this.choice.length !== values.length) {
      this.choice.replaceChildren(...values.map(({ kind }) => h("option", { value: kind }, kind.replaceAll("_", " "))));
    }
    this.choice.value = values[value].kind;
    this.told = told;
    say(this.about, told.about);
    if (!this.table || this.unit !== values[value].unit) this.make(values[value].unit);
    this.table.set(told.functions.slice(0, ROWS));
    const left = told.functions.length + told.left_out - Math.min(ROWS, told.functions.length);
    const more = left > 0 ? `; ${counted(left, "function")} more: see JSON` : "";
    say(this.sum, `${this.whole(told)}, ${counted(told.stacks, "stack")}${more}`);
    this.links.replaceChildren("Fetch as ", ...this.formats.flatMap((format, at) =>
      [at > 0 ? ", " : "", fetched(h("a", { href: this.address(format), download: true }, FORMATS[format]))]));
  }

  whole({ total, before, after }) {
    return total == null ? `${amount(before, this.unit)} before, ${amount(after, this.unit)} after` : `${amount(total, this.unit)} in all`;
  }

  make(unit) {
    this.unit = unit;
    const part = (key, title, hint, value, show) => ({ key, title, hint, value, show });
    const shown = value => amount(value, unit);
    const isDiff = this.told.total == null;
    const share = row => (this.told.total > 0 ? row.total / this.told.total : null);
    const change = row => row.after - row.before;
    const numbers = isDiff ? [
      part("change", "Change", "With all that it calls", change, row => (change(row) > 0 ? `+${shown(change(row))}` : shown(change(row)))),
      part("before", "Before", "With all that it calls", row => row.before, row => shown(row.before)),
      part("after", "After", "With all that it calls", row => row.after, row => shown(row.after)),
    ] : [
      part("self", "Self", "Of stacks that end in it", row => row.self, row => (row.self ? shown(row.self) : NOTHING)),
      part("total", "Total", "With all that it calls", row => row.total, row => shown(row.total)),
      part("share", "Part", "Total, of the whole", share, row => percent(share(row))),
    ];
    const name = (cell, row) => {
      const button = cell.firstChild ?? cell.appendChild(h("button", { type: "button", class: "name", click: () => this.find(exactly(row.function)) }));
      say(button, row.function);
      button.title = row.line ? `${row.file}:${row.line}` : row.file;
    };
    this.table = new Table({
      caption: `Functions: ${this.title}`,
      columns: [{ key: "function", title: "Function", isText: true, value: row => row.function, draw: name }, ...numbers],
      key: row => row.function,
      sort: isDiff ? "change" : "total",
      matcher: matching,
    });
    this.sum = h("p", { class: "faint" });
    this.functions.replaceChildren(this.sum, this.table.element);
    this.table.only(this.search.value);
  }

  choose() {
    this.value = this.choice.value;
    this.load();
  }

  /** A frame of its own for each picture: inferno's script begins anew. */
  show(drawn) {
    const title = `Flame graph: ${this.title}; the table of functions has the same numbers`;
    const load = () => {
      const height = frame.contentWindow.show(drawn);
      const tall = Math.min(height, innerHeight * 0.75);
      // With its border.
      frame.style.height = `${Math.ceil(tall) + 2}px`;
      // Beside it the table is as high.
      this.table.element.style.maxHeight = `${Math.max(tall - 24, 280)}px`;
      this.frame = frame;
      this.mark();
    };
    const frame = h("iframe", { src: "/assets/flame.html", title, load });
    this.picture.replaceChildren(frame);
  }

  /** While somebody types nothing is searched. */
  later() {
    clearTimeout(this.typing);
    this.typing = setTimeout(() => this.mark(), 150);
  }

  find(term) {
    this.search.value = term;
    this.mark();
  }

  mark() {
    const term = this.search.value;
    this.table?.only(term);
    say(this.matched, this.frame?.contentWindow?.find?.(term) ?? "");
  }
}

