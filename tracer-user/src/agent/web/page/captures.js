// Captures: files that rules have made, or that were asked for; a list, links to fetch them, and a way to ask.

import { ask, fetched, post } from "./ask.js";
import { h, say } from "./dom.js";
import { Table } from "./table.js";
import { bytes, clock, seconds, NOTHING } from "./text.js";

/** What can be captured, and what that is called. */
export const WHAT = {
  heap: "live heap",
  goroutines: "goroutines",
  record: "allocations",
  map: "time in iterations over maps",
  os: "growth of resident memory",
};

const address = name => `/api/v1/captures/${encodeURIComponent(name)}`;

function linked(cell, { name }) {
  if (cell.firstChild) return;
  cell.append(fetched(h("a", { href: address(name), download: name }, name)));
}

const COLUMNS = [
  { key: "name", title: "File", isText: true, value: row => row.name, draw: linked },
  { key: "what", title: "Of", isText: true, value: row => row.what, show: row => WHAT[row.what] ?? row.what },
  { key: "pid", title: "PID", value: row => row.pid, show: row => row.pid == null ? NOTHING : String(row.pid) },
  { key: "time", title: "Made", value: row => row.time, show: row => clock(row.time) },
  { key: "bytes", title: "Size", value: row => row.bytes, show: row => bytes(row.bytes) },
];

/** As names of files have a name of a process. */
const safe = comm => [...comm].slice(0, 40).map(c => /[A-Za-z0-9_]/.test(c) ? c : "-").join("");

export class Captures {
  /** Of one process ({ pid, comm }), or of all. */
  constructor(process) {
    this.process = process;
    this.mark = null;
    this.files = [];
    this.table = new Table({ caption: "Captures", columns: COLUMNS, key: row => row.name, sort: "time" });
    this.none = h("p", { class: "faint" });
    this.order = process ? this.asking() : null;
    this.said = h("p", { role: "status" });
    this.element = h("section", { "aria-labelledby": "captures" },
      h("h3", { id: "captures" }, "Captures"), this.order, this.said, this.none, this.table.element);
    this.draw();
  }

  /** Takes what the last answer said of captures; asks for the list when there are others. */
  known(told) {
    const mark = JSON.stringify([told?.files, told?.newest, this.process?.comm]);
    this.allowed(told);
    if (!told || mark === this.mark) return;
    this.mark = mark;
    this.load();
  }

  async load() {
    try {
      const files = await ask("/api/v1/captures");
      this.files = files.filter(file => this.isMeant(file));
      this.draw();
    } catch (error) {
      this.mark = null;
      say(this.said, error.message);
    }
  }

  isMeant({ name, pid }) {
    const { process } = this;
    return !process || (pid === process.pid && name.includes(`-${safe(process.comm ?? "")}-${pid}-`));
  }

  draw() {
    this.table.set(this.files);
    this.table.element.hidden = this.files.length === 0;
    this.none.hidden = this.files.length > 0;
    say(this.none, this.process ? "None of this process." : "None. Rules make them, or a request where the file allows it.");
    this.changed?.(this.files);
  }

  /** The newest of one kind. */
  newest(what) {
    return this.files.filter(file => file.what === what).sort((a, b) => b.time - a.time)[0];
  }

  address(file) {
    return address(file.name);
  }

  asking() {
    this.what = h("select", {}, Object.entries(WHAT).map(([what, title]) => h("option", { value: what }, title)));
    this.length = h("input", { type: "number", min: 1, value: 10 });
    const ask = () => this.want(this.what.value);
    this.form = h("p", { class: "bar", hidden: true }, h("label", {}, "Capture ", this.what),
      h("label", {}, "for ", this.length, " s"), h("button", { type: "button", click: ask }, "Capture"));
    return this.form;
  }

  allowed(told) {
    if (!this.form) return;
    this.form.hidden = !told?.on_request;
    if (told) this.length.max = Math.floor(told.longest_seconds);
  }

  /** Has one made. */
  async want(what) {
    const length = what === "heap" || what === "goroutines" ? "" : `&seconds=${Number(this.length.value)}`;
    try {
      const { name } = await post(`/api/v1/processes/${this.process.pid}/captures?what=${what}${length}`);
      say(this.said, `${name} is being made${length && `, which takes ${seconds(Number(this.length.value))} and a little more`}.`);
    } catch (error) {
      say(this.said, error.message);
    }
  }
}
