// Courses of numbers over time. In: the timeline of a process and what follows. Out: a picture for each group of lines,
// its values in words, and the same numbers in a table for who reads them.

import { h, mark, s, say } from "./dom.js";
import { bytes, clock, count, percent, rate } from "./text.js";

const [WIDTH, HEIGHT] = [600, 100];
/** Above the highest line, for what it stands for. */
const HEAD = 17;
const height = part => HEIGHT - 1 - part * (HEIGHT - HEAD - 1);
/** Points that are kept, and rows of a table of them. */
const MOST = 600;
const ROWS = 60;

const GROUPS = [
  { title: "Memory", show: bytes, lines: [["heap_live", "live heap"], ["heap_goal", "goal"], ["resident", "resident"]] },
  { title: "Allocation rate", show: rate, lines: [["rate", "allocated"]] },
  { title: "Goroutines", show: count, lines: [["goroutines", "goroutines"]] },
  { title: "Collector’s CPU time", show: percent, lines: [["gc_pressure", "last minute"]] },
];

/** A round number that is not below. */
function ceiling(value, show) {
  if (value <= 0) return show === percent ? 0.01 : 1;
  const step = show === bytes || show === rate ? 2 : 10;
  const base = step ** Math.floor(Math.log(value) / Math.log(step));
  return [1, 1.25, 1.5, 2, 2.5, 5, 10].map(times => times * base).find(top => top >= value);
}

class Chart {
  constructor({ title, show, lines }) {
    Object.assign(this, { title, show, lines });
    this.paths = lines.map(([key]) => s("path", { class: `line ${key}` }));
    this.cursor = s("line", { class: "cursor", y1: 0, y2: HEIGHT, hidden: true });
    const grid = [0.5, 1].map(part => s("line", { class: "grid", x1: 0, x2: WIDTH, y1: height(part), y2: height(part) }));
    this.picture = s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" },
      grid, this.paths, this.cursor);
    this.picture.addEventListener("pointermove", event => this.point(event));
    this.picture.addEventListener("pointerleave", () => this.leave());
    this.values = lines.map(() => h("b"));
    this.top = h("span", { class: "tick" });
    this.times = [h("span"), h("span"), h("span")];
    const legend = lines.map(([key, name], at) =>
      h("span", { class: "told" }, h("i", { class: `key ${key}` }), `${name} `, this.values[at]));
    this.rows = h("tbody");
    this.numbers = h("details", { toggle: () => this.table() }, h("summary", {}, "Numbers"), h("div", { class: "scroll" },
      h("table", {}, h("caption", { class: "unseen" }, `${title} over time`),
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Time"), lines.map(([, name]) => h("th", { scope: "col" }, name)))),
        this.rows)));
    this.element = h("figure", {}, h("figcaption", {}, h("span", { class: "name" }, title), legend),
      h("div", { class: "chart" }, this.picture, this.top), h("p", { class: "axis" }, this.times), this.numbers);
  }

  draw(points) {
    this.points = points;
    const [from, to] = [points[0].time, points[points.length - 1].time];
    const known = this.lines.flatMap(([key]) => points.map(point => point[key]).filter(value => value != null));
    const most = known.reduce((most, value) => Math.max(most, value), 0);
    const top = ceiling(most, this.show);
    const x = time => (to > from ? (time - from) / (to - from) : 1) * WIDTH;
    const y = value => height(value / top);
    this.lines.forEach(([key], at) => {
      let path = "";
      // Where nothing is known there is no line.
      let isOpen = false;
      for (const point of points) {
        const value = point[key];
        if (value != null) path += `${isOpen ? "L" : "M"}${x(point.time).toFixed(1)} ${y(value).toFixed(1)}`;
        isOpen = value != null;
      }
      mark(this.paths[at], "d", path || null);
    });
    say(this.top, this.show(top));
    const ends = [clock(from), "", clock(to)];
    this.times.forEach((time, at) => at === 1 || say(time, ends[at]));
    const words = this.lines.map(([key, name]) => `${name} ${this.show(points[points.length - 1][key])}`);
    mark(this.picture, "aria-label", `${this.title} since ${clock(from)}, up to ${this.show(known.length ? most : null)}; now ${words.join(", ")}`);
    if (this.at == null) this.tell(points.length - 1);
    else this.put();
    this.table();
  }

  tell(at) {
    this.lines.forEach(([key], line) => say(this.values[line], this.show(this.points[at][key])));
  }

  /** Tells of the time that is pointed at. */
  point(event) {
    const box = this.picture.getBoundingClientRect();
    this.at = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
    this.put();
  }

  put() {
    const { points } = this;
    const [from, to] = [points[0].time, points[points.length - 1].time];
    const time = from + this.at * (to - from);
    const near = points.reduce((best, point, at) =>
      Math.abs(point.time - time) < Math.abs(points[best].time - time) ? at : best, 0);
    const x = to > from ? ((points[near].time - from) / (to - from)) * WIDTH : WIDTH;
    mark(this.cursor, "x1", x);
    mark(this.cursor, "x2", x);
    this.cursor.removeAttribute("hidden");
    say(this.times[1], clock(points[near].time));
    this.tell(near);
  }

  leave() {
    this.at = null;
    this.cursor.setAttribute("hidden", "");
    say(this.times[1], "");
    this.tell(this.points.length - 1);
  }

  table() {
    if (!this.numbers.open || !this.points) return;
    const step = Math.ceil(this.points.length / ROWS);
    const chosen = this.points.filter((_, at) => (this.points.length - 1 - at) % step === 0).reverse();
    this.rows.replaceChildren(...chosen.map(point => h("tr", {}, h("th", { scope: "row" }, clock(point.time)),
      this.lines.map(([key]) => h("td", {}, this.show(point[key]))))));
  }
}

export class Charts {
  constructor() {
    this.charts = GROUPS.map(group => new Chart(group));
    this.points = [];
    this.element = h("section", { "aria-labelledby": "course" }, h("h3", { id: "course", class: "unseen" }, "Course"),
      h("div", { class: "charts" }, this.charts.map(chart => chart.element)));
  }

  /** Takes a timeline: arrays of one length. */
  start({ times, ...columns }) {
    const names = ["heap_live", "heap_goal", "resident", "allocated", "goroutines", "gc_pressure"];
    this.points = times.map((time, at) => Object.fromEntries([["time", time], ...names.map(name => [name, columns[name][at]])]));
    this.points.forEach((point, at) => this.measure(point, this.points[at - 1]));
    this.draw();
  }

  /** Takes a newer moment. */
  add(point) {
    const last = this.points[this.points.length - 1];
    if (!last || point.time <= last.time) return;
    this.measure(point, last);
    this.points.push(point);
    // As the agent does it: of the older half every second goes.
    if (this.points.length > MOST) this.points = this.points.filter((_, at) => at > MOST / 2 || at % 2 === 0);
    this.draw();
  }

  measure(point, before) {
    const more = before ? point.allocated - before.allocated : -1;
    point.rate = more >= 0 ? more / ((point.time - before.time) / 1000) : null;
  }

  draw() {
    if (this.points.length > 0) this.charts.forEach(chart => chart.draw(this.points));
  }
}
