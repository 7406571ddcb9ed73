// The node: every process in one table, who can't be read, and what the agent takes itself.

import { h, mark, say } from "./dom.js";
import { Table, byWords } from "./table.js";
import { ahead, bytes, count, counted, percent, place, rate, seconds, NOTHING } from "./text.js";
import { Captures } from "./captures.js";

const SOON = 3600;
const id = process => `${process.pid}-${process.start_ticks}`;

function named(cell, process) {
  let link = cell.firstChild;
  if (!link) cell.append(link = h("a", { href: `#/process/${process.pid}` }));
  say(link, process.comm || "?");
  mark(link, "title", process.path);
}

function forecast(cell, { forecast_seconds: left }) {
  say(cell, ahead(left));
  cell.classList.toggle("bad", left != null && left < SOON);
}

function findings(cell, { leaks, growing }) {
  const parts = [leaks > 0 && counted(leaks, "leak"), growing > 0 && `${count(growing)} growing`].filter(Boolean);
  say(cell, parts.join(", ") || NOTHING);
  cell.classList.toggle("bad", leaks > 0);
}

/** A column of a number that the agent tells. */
const column = (key, title, hint, show) => ({ key, title, hint, value: row => row[key], show: row => show(row[key]) });

const COLUMNS = [
  { key: "comm", title: "Process", isText: true, value: row => row.comm, draw: named },
  { key: "pid", title: "PID", hint: "Its number", value: row => row.pid, show: row => String(row.pid) },
  { key: "place", title: "Where", hint: "Pod, container or unit", isText: true, value: place, show: row => place(row) ?? NOTHING },
  { key: "go", title: "Go", hint: "Version of Go that built it", isText: true, value: row => row.go_version, show: row => row.go_version?.replace(/^go/, "") ?? NOTHING },
  column("heap_live", "Live heap", "What survived the last collection", bytes),
  column("heap_goal", "Goal", "Size of the heap at which the next collection should end", bytes),
  column("resident", "Resident", "Memory of the process that is in RAM", bytes),
  column("rate", "Allocates", "Bytes a second, between the last two looks", rate),
  column("gc_pressure", "GC CPU", "The collector's part of the CPU time of GOMAXPROCS CPUs, in the last minute", percent),
  column("gc_pause_p99_seconds", "Pause p99", "Pause that 99 of 100 of the last 256 collections did not exceed", seconds),
  column("goroutines", "Goroutines", "Those of the program", count),
  { key: "forecast", title: "Limit", hint: "When a memory limit is reached at the present trend", value: row => row.forecast_seconds == null ? null : -row.forecast_seconds, draw: forecast },
  { key: "findings", title: "Findings", hint: "What leaks or grows", value: row => row.leaks * 1e6 + row.growing, draw: findings },
];

const words = row => [row.comm, row.pid, row.path, row.go_version, place(row), row.container, row.unit].join(" ");

/** Who allocates how fast: what was allocated between two answers, by the time between them. */
export class Rates {
  constructor() {
    this.before = new Map();
    this.time = null;
  }

  /** Adds `rate` to each process. */
  add(time, processes) {
    const length = this.time == null ? 0 : (time - this.time) / 1000;
    // The same look again tells nothing new.
    const isNew = length > 0 || this.time == null;
    const now = new Map();
    for (const process of processes) {
      const before = this.before.get(id(process));
      const more = before ? process.allocated - before.allocated : -1;
      const told = isNew ? (more >= 0 ? more / length : null) : before?.rate ?? null;
      process.rate = told;
      now.set(id(process), { allocated: process.allocated, rate: told });
    }
    this.before = now;
    this.time = time;
  }
}

export class NodeView {
  constructor() {
    this.path = "/api/v1/overview";
    this.title = "heaptap";
    this.rates = new Rates();
    this.table = new Table({ caption: "Go processes of this node", columns: COLUMNS, key: id, sort: "heap_live", matcher: byWords(words) });
    const only = event => {
      this.table.only(event.target.value);
      this.tell();
    };
    this.filter = h("input", { type: "search", id: "filter", "data-filter": true, input: only, placeholder: "name, pid, pod, path …", autocomplete: "off" });
    this.shown = h("span", { id: "shown" });
    this.unread = h("ul");
    this.unreadTitle = h("summary");
    this.unreadBox = h("details", { id: "unread", hidden: true }, this.unreadTitle, this.unread);
    this.captures = new Captures();
    this.element = h("div", { class: "node" },
      h("h2", { class: "unseen" }, "Processes"),
      h("p", { class: "bar" }, h("label", { for: "filter" }, "Filter"), this.filter, this.shown),
      this.table.element, this.unreadBox, this.captures.element);
  }

  /** Takes an answer. */
  show({ node, processes, captures }) {
    this.rates.add(node.time, processes);
    // A column of nothing but dashes tells nothing.
    this.table.element.classList.toggle("nowhere", processes.every(process => place(process) == null));
    this.is = { held: !this.table.set(processes), all: processes.length };
    this.tell();
    this.missing(node);
    this.captures.known(captures);
  }

  tell() {
    const { all, held } = this.is ?? { all: 0 };
    const shown = this.table.shown === all ? counted(all, "process", "processes") : `${count(this.table.shown)} of ${count(all)}`;
    say(this.shown, held ? `${shown}; held while text is selected` : shown);
  }

  /** Who is not in the table. */
  missing({ unread, own }) {
    this.unreadBox.hidden = unread.length + own.left_out === 0;
    const parts = [
      unread.length > 0 && `${counted(unread.length, "Go program")} can't be read`,
      own.left_out > 0 && `${count(own.left_out)} left out (watch.max_processes)`,
    ];
    say(this.unreadTitle, parts.filter(Boolean).join("; "));
    const lines = unread.map(({ pid, comm, reason }) => `${comm} (${pid}): ${reason}`);
    if (lines.join() === this.lines) return;
    this.lines = lines.join();
    this.unread.replaceChildren(...lines.map(line => h("li", {}, line)));
  }

  close() {}
}
