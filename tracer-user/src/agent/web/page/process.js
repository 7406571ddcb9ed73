// One process: its course, its flame graphs, what changed between two times, and what is known of it.

import { ask } from "./ask.js";
import { Captures, WHAT } from "./captures.js";
import { Charts } from "./charts.js";
import { h, mark, say } from "./dom.js";
import { ProfileView } from "./profile.js";
import { Facts, Told, who } from "./told.js";
import { clock } from "./text.js";

/** What changed between two heap profiles that were kept. */
class Changes {
  constructor(path) {
    this.path = path;
    this.from = h("select", { change: () => this.load() });
    this.to = h("select", { change: () => this.load() });
    this.none = h("p", { class: "faint" }, "Two heap profiles are needed: one is kept each 60th round, if the program has one.");
    this.bar = h("p", { class: "bar" }, h("label", {}, "From ", this.from), h("label", {}, "to ", this.to));
    this.place = h("div");
    this.element = h("div", {}, this.none, this.bar, this.place);
    this.kept([]);
  }

  kept(times) {
    this.none.hidden = times.length >= 2;
    this.bar.hidden = times.length < 2;
    if (times.join() === this.times?.join()) return;
    this.times = times;
    const chosen = [this.from.value, this.to.value];
    [this.from, this.to].forEach((select, at) => {
      select.replaceChildren(...times.map(time => h("option", { value: time }, clock(time))));
      select.value = times.includes(Number(chosen[at])) ? chosen[at] : times[at === 0 ? 0 : times.length - 1] ?? "";
    });
    if (this.isShown) this.load();
  }

  load() {
    this.isShown = true;
    if (this.times.length < 2) return;
    const key = `${this.from.value}-${this.to.value}`;
    if (key === this.key) return;
    this.key = key;
    const view = new ProfileView({
      address: `${this.path}/diff?from=${this.from.value}&to=${this.to.value}`,
      title: `what changed from ${clock(Number(this.from.value))} to ${clock(Number(this.to.value))}`,
      formats: ["pprof", "folded", "svg", "json"],
    });
    this.place.replaceChildren(view.element);
    view.load();
  }
}

/** A profile of captures of one kind: the newest, or one that is chosen. */
class Captured {
  constructor(what, captures) {
    Object.assign(this, { what, captures });
    this.files = h("select", { change: () => this.load() });
    this.none = h("p", { class: "faint" });
    this.bar = h("p", { class: "bar" }, h("label", {}, "Capture ", this.files));
    this.place = h("div");
    this.element = h("div", {}, this.none, this.bar, this.place);
  }

  known(all) {
    const files = all.filter(file => file.what === this.what).sort((a, b) => b.time - a.time);
    this.none.hidden = files.length > 0;
    this.bar.hidden = files.length === 0;
    say(this.none, `No capture of this yet (${WHAT[this.what]}): a rule makes one, with capture = ["${this.what} 10s"], or a request below, where the file allows it.`);
    const chosen = this.files.value;
    this.files.replaceChildren(...files.map(file => h("option", { value: file.name }, `${clock(file.time)} ${file.name}`)));
    if (files.some(file => file.name === chosen)) this.files.value = chosen;
    if (this.isShown) this.load();
  }

  load() {
    this.isShown = true;
    const name = this.files.value;
    if (!name || name === this.name) return;
    this.name = name;
    const view = new ProfileView({ address: this.captures.address({ name }), title: WHAT[this.what], formats: ["svg", "pprof", "folded", "html", "json"] });
    this.place.replaceChildren(view.element);
    view.load();
  }
}

/** Tabs, as WAI-ARIA has them: arrows move between them. */
class Tabs {
  constructor(label, panels) {
    this.panels = panels;
    this.buttons = panels.map(({ id, title }, at) =>
      h("button", { type: "button", role: "tab", id: `tab-${id}`, "aria-controls": `panel-${id}`, click: () => this.open(at) }, title));
    const bodies = panels.map(({ id, element }) =>
      h("div", { role: "tabpanel", id: `panel-${id}`, "aria-labelledby": `tab-${id}`, hidden: true }, element));
    this.bodies = bodies;
    const keys = event => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      const to = step ? (this.at + step + panels.length) % panels.length : { Home: 0, End: panels.length - 1 }[event.key];
      if (to == null) return;
      event.preventDefault();
      this.open(to);
      this.buttons[to].focus();
    };
    this.element = h("section", { "aria-label": label }, h("div", { role: "tablist", "aria-label": label, keydown: keys }, this.buttons), bodies);
  }

  open(at) {
    this.at = at;
    this.buttons.forEach((button, other) => {
      mark(button, "aria-selected", String(other === at));
      mark(button, "tabindex", other === at ? "0" : "-1");
      this.bodies[other].hidden = other !== at;
    });
    if (!this.panels[at].isLoaded) this.panels[at].load();
    this.panels[at].isLoaded = true;
  }
}

export class ProcessView {
  constructor(pid) {
    this.path = `/api/v1/processes/${pid}`;
    this.title = `${pid} · heaptap`;
    this.pid = pid;
    this.name = h("h2", {}, `Process ${pid}`);
    this.who = h("p", { class: "faint" });
    this.facts = new Facts();
    this.charts = new Charts();
    this.told = new Told();
    this.process = { pid, comm: null };
    this.captures = new Captures(this.process);
    this.changes = new Changes(this.path);
    this.tabs = new Tabs("Flame graphs", this.panels());
    this.element = h("div", { class: "process" }, h("p", {}, h("a", { href: "#/" }, "← all processes")),
      this.name, this.who, this.facts.element, this.charts.element, this.tabs.element, this.told.element, this.captures.element);
  }

  panels() {
    const of = (id, title, query, value) => {
      const view = new ProfileView({ address: `${this.path}/profile?of=${query}`, value, title });
      return { id, title, element: view.element, load: () => view.load() };
    };
    const captured = (what, title) => {
      const view = new Captured(what, this.captures);
      return { id: what, title, element: view.element, view, load: () => view.load() };
    };
    const [map, os] = [captured("map", "Map time"), captured("os", "Resident growth")];
    this.captures.changed = files => [map, os].forEach(panel => panel.view.known(files));
    this.captures.changed([]);
    return [
      of("live", "Live heap", "heap", "inuse_space"),
      of("allocations", "Allocations", "heap", "alloc_space"),
      of("goroutines", "Goroutines", "goroutines"),
      map, os,
      { id: "changes", title: "What changed", element: this.changes.element, load: () => this.changes.load() },
    ];
  }

  /** Takes an answer. */
  show(process) {
    const { comm, pid, start_ticks: start } = process;
    // Another program has this number now.
    if (this.start != null && this.start !== start) this.isStarted = false;
    if (this.start == null) this.tabs.open(0);
    this.start = start;
    this.process.comm = comm;
    this.title = `${comm} (${pid}) · heaptap`;
    say(this.name, `${comm} (${pid})`);
    say(this.who, who(process));
    this.facts.show(process);
    this.told.show(process);
    this.changes.kept(process.kept);
    this.captures.known(process.captures);
    this.course(process);
  }

  /** The course so far once, then what each answer adds; again where some of it was missed. */
  course(process) {
    const isLate = this.time != null && process.time - this.time > 10000;
    this.time = process.time;
    if (this.isStarted && !isLate) return this.charts.add({ ...process });
    this.isStarted = true;
    ask(`${this.path}/timeline`).then(line => this.charts.start(line), () => { this.isStarted = false; });
  }

  /** Whether it is not there any more: what was seen of it stays. */
  gone(error) {
    if (error.status !== 404) return false;
    say(this.who, this.start == null ? "No such Go process is watched." : `It is not there any more. What is shown is of ${clock(this.time)}.`);
    mark(this.who, "role", "alert");
    return true;
  }

  close() {}
}
