// What else is known of a process: who it is, its limits, what grows, what goroutines do, its memory.

import { h, mark, say } from "./dom.js";
import { ahead, amount, bytes, clock, count, counted, frame, percent, place, rate, seconds, NOTHING } from "./text.js";

/** A part whose content is made anew when what it tells has changed, and only then: it can be read and selected. */
class Part {
  constructor(title, draw, open = true) {
    this.draw = draw;
    this.body = h("div", { class: "scroll" });
    this.element = h("details", { class: "part", open }, h("summary", {}, h("h3", {}, title)), this.body);
  }

  show(told) {
    const drawn = this.draw(told);
    const text = drawn.map(part => part.textContent).join("\n");
    if (text === this.text) return;
    this.text = text;
    this.body.replaceChildren(...drawn);
  }
}

function table(caption, heads, rows) {
  return h("table", {}, h("caption", { class: "unseen" }, caption),
    h("thead", {}, h("tr", {}, heads.map((head, at) => h("th", { scope: "col", class: at === 0 ? "text" : null }, head)))),
    h("tbody", {}, rows.map(([first, ...others]) =>
      h("tr", {}, h("th", { scope: "row", class: "text" }, first), others.map(other => h("td", {}, other))))));
}

const none = text => [h("p", { class: "faint" }, text)];
const stack = frames => h("ol", { class: "stack" }, frames.map(one => h("li", { title: `${one.file}:${one.line}` }, frame(one))));

function finding({ of, verdict, place: at, slope, slope_error: error, grew, live, seconds: over, doubts, frames }) {
  const unit = of === "goroutines" ? "count" : "bytes";
  const per = unit === "bytes" ? value => rate(value) : value => `${value.toPrecision(2)}/s`;
  return h("li", {},
    h("p", {}, h("strong", { class: verdict === "leak" ? "bad" : null }, verdict), ` ${of}: `, h("code", {}, at ? frame(at) : "no line is known")),
    h("p", { class: "faint" }, `${per(slope)} ± ${per(error)}; grew by ${amount(grew, unit)} to ${amount(live, unit)} in ${seconds(over)}${doubts.length ? `; but: ${doubts.join(", ")}` : ""}`),
    frames.length ? h("details", {}, h("summary", {}, counted(frames.length, "frame")), stack(frames)) : null);
}

const findings = ({ findings: all }) =>
  all.length ? [h("ul", { class: "findings" }, all.map(finding))] : none("Nothing that was seen to grow without an end.");

const LIMITS = { cgroup: "control group", gomemlimit: "GOMEMLIMIT" };

function forecast({ forecast: all }) {
  if (!all.length) return none("No memory limit, or too early to tell.");
  const about = ({ is_reached: is, seconds: at, earliest, latest }) => {
    if (is) return "reached";
    if (at == null) return earliest == null ? "not in sight" : `not before ${seconds(earliest)}`;
    return `${ahead(at)} (${seconds(earliest)} to ${latest == null ? "never" : seconds(latest)})`;
  };
  const rows = all.map(one => [LIMITS[one.limit] ?? one.limit.replaceAll("_", " "), bytes(one.used), bytes(one.bytes), about(one)]);
  return [table("Memory limits", ["Limit", "Used", "Of", "Reached"], rows)];
}

function states({ states: all, goroutines }) {
  if (goroutines == null) return none("Not looked at yet.");
  const rows = [...all].sort((a, b) => b.count - a.count).map(({ state, count: many }) => [state, count(many)]);
  return [table("Goroutines by what they do or wait for", ["State", "Goroutines"], rows)];
}

function memory({ memory: it, collector, resident, limit_used: used }) {
  const rows = [
    ["resident", bytes(resident)], ["mapped by the runtime", bytes(it.mapped)], ["off the heap, at least", bytes(it.off_heap)],
    ["objects", bytes(it.objects)], ["spans with objects", bytes(it.spans_used)], ["spans without", bytes(it.spans_idle)],
    ["given back", bytes(it.spans_released)], ["stacks of goroutines", bytes(it.stacks)],
    ["GOMEMLIMIT", it.go_limit == null ? "none" : bytes(it.go_limit)], ["control group uses", bytes(it.cgroup_used)],
    ["control group’s limit", it.cgroup_limit == null ? "none" : bytes(it.cgroup_limit)], ["of the nearest limit", percent(used)],
    ["GOGC", collector.gogc_percent == null ? "off" : `${collector.gogc_percent} %`], ["GOMAXPROCS", count(collector.gomaxprocs)],
    ["collections", `${count(collector.cycles)} (${count(collector.forced)} asked for)`], ["CPU time of the collector", seconds(collector.cpu_seconds)],
  ];
  return [table("Memory and collector", ["", "Value"], rows)];
}

/** Who it is, in one line of facts. */
export class Facts {
  constructor() {
    this.element = h("dl", { class: "facts" });
    this.fields = new Map();
  }

  show(process) {
    const facts = {
      "Live heap": bytes(process.heap_live), Goal: bytes(process.heap_goal), Resident: bytes(process.resident),
      Goroutines: count(process.goroutines), "GC CPU": percent(process.gc_pressure), "Pause p99": seconds(process.gc_pause_p99_seconds),
      Limit: ahead(process.forecast_seconds), Findings: [process.leaks && counted(process.leaks, "leak"), process.growing && `${process.growing} growing`].filter(Boolean).join(", ") || NOTHING,
    };
    for (const [name, value] of Object.entries(facts)) {
      let field = this.fields.get(name);
      if (!field) {
        this.fields.set(name, field = h("dd"));
        this.element.append(h("div", {}, h("dt", {}, name), field));
      }
      say(field, value);
    }
    mark(this.fields.get("Findings"), "class", process.leaks ? "bad" : null);
  }
}

/** What of it is told in words, in one line. */
export const who = process =>
  [process.path, process.go_version, place(process), process.profile && `heap profile of ${clock(process.profile.time)}`, process.no_profile].filter(Boolean).join(" · ");

/** All parts. */
export class Told {
  constructor() {
    this.parts = [new Part("Findings", findings), new Part("Forecast", forecast), new Part("States of goroutines", states), new Part("Memory and collector", memory)];
    this.element = h("div", { class: "parts" }, this.parts.map(part => part.element));
  }

  show(process) {
    this.parts.forEach(part => part.show(process));
  }
}
