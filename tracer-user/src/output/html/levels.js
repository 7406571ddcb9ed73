"use strict";
// Levels over time: what the runtimes say of memory and goroutines, under the timeline.

const BYTES = { unit: "bytes" }, GOROUTINES = { unit: "count", noun: "goroutines" };
// What is drawn, and how it is told apart without colours.
const LINES = [
  { key: "live", label: "live heap", of: BYTES, area: true },
  { key: "goal", label: "goal", of: BYTES },
  { key: "resident", label: "resident", of: BYTES },
  { key: "limit", label: "limit", of: BYTES },
  { key: "goroutines", label: "goroutines", of: GOROUTINES, area: true },
];

class Levels {
  constructor({ times, of }) {
    this.times = times;
    this.of = of;
  }

  get there() { return this.of.length > 0 && this.times.length > 1; }

  // By line: what it is at each time; null where that is not known. Of several processes the sum, which limits have none of.
  lines(process) {
    const chosen = this.of.filter(of => process === null || of.process === process);
    const lists = key => chosen.map(of => of[key]);
    const sum = key => this.times.map((_, at) => {
      const known = lists(key).map((list, which) => chosen[which].live[at] === null ? 0 : list[at]);
      return chosen.every(of => of.live[at] === null) || known.includes(null) ? null : known.reduce((sum, one) => sum + one, 0);
    });
    const lower = (a, b) => a === null ? b : b === null ? a : Math.min(a, b);
    const limit = chosen.length === 1 ? this.times.map((_, at) => lower(chosen[0].memory_limit[at], chosen[0].cgroup_limit[at])) : [];
    return LINES.map(line => ({ ...line, values: line.key === "limit" ? limit : chosen.length === 0 ? [] : sum(line.key) }))
      .filter(line => line.values.some(value => value !== null));
  }

  // The last time until then; the first where there is none.
  at(time) {
    let found = 0;
    this.times.forEach((one, at) => { if (one <= time) found = at; });
    return found;
  }
}

// A round number that is not less.
function round_up(of, most) {
  const base = of.unit === "bytes" ? 1024 : 1000;
  let unit = 1;
  while (most / unit >= base) unit *= base;
  const steps = of.unit === "bytes" ? [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024] : [1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 40, 50, 60, 80, 100, 150, 200, 300, 400, 500, 600, 800, 1000];
  return unit * (steps.find(step => step * unit >= most) ?? base);
}

// A limit that is far above all others would leave them no room.
const FAR = 2;

function most_of(line) { return line.values.reduce((most, value) => Math.max(most, value ?? 0), 0); }

function is_drawn(line, lines) {
  return line.key !== "limit" || most_of(line) <= FAR * Math.max(1, ...lines.filter(other => other !== line).map(most_of));
}

// A chart of lines that have the same unit.
function chart({ lines, times, shots, since, at, high, label }) {
  const drawn_lines = lines.filter(line => is_drawn(line, lines));
  const top = round_up(lines[0].of, Math.max(1, ...drawn_lines.map(most_of)));
  const x = time => Math.min(WIDE, Math.max(0, across(shots, time)));
  const y = value => HIGH - HIGH * value / top;
  const svg = drawn("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", role: "img", class: "levels" });
  svg.style.height = high + "px";
  const told = lines.map(line => `${line.label} up to ${amount(line.of, most_of(line))}`).join(", ");
  svg.setAttribute("aria-label", `${label} over time: ${told}`);
  for (const part of [0.5, 1]) svg.append(drawn("line", { class: "grid", x1: 0, x2: WIDE, y1: y(top * part), y2: y(top * part) }));
  for (const line of drawn_lines) {
    for (const run of runs(line.values)) {
      const points = run.map(one => `${x(times[one]).toFixed(2)},${y(line.values[one]).toFixed(2)}`);
      const ends = [x(times[run[0]]), x(times[run[run.length - 1]])].map(end => end.toFixed(2));
      if (line.area) svg.append(drawn("path", { class: `area ${line.key}`, d: `M${ends[0]},${HIGH} L${points.join(" L")} L${ends[1]},${HIGH} Z` }));
      svg.append(drawn("path", { class: `line ${line.key}`, d: `M${points.join(" L")}` + (points.length === 1 ? " h0.1" : "") }));
    }
  }
  if (since !== null) {
    const from = x(shots[since].end), to = x(shots[at].end);
    svg.append(drawn("rect", { class: "range", x: from, y: 0, width: Math.max(0, to - from), height: HIGH }));
    svg.append(drawn("line", { class: "mark since", x1: from, x2: from, y1: 0, y2: HIGH }));
  }
  svg.append(drawn("line", { class: "mark", x1: x(shots[at].end), x2: x(shots[at].end), y1: 0, y2: HIGH }));
  const ticks = [1, 0.5].map(part => {
    const tick = element("span", { className: "tick", textContent: amount(lines[0].of, top * part) });
    tick.style.top = 100 - 100 * part + "%";
    return tick;
  });
  return element("div", { className: "chart" }, svg, ...ticks);
}

// Times next to each other at which something is known.
function runs(values) {
  const runs = [];
  let run = null;
  values.forEach((value, at) => {
    if (value === null) { run = null; return; }
    if (run === null) runs.push(run = []);
    run.push(at);
  });
  return runs;
}

// What each line is at the time that is shown, and what it was before.
function told_levels(lines, now, before) {
  const items = lines.map(line => {
    const value = line.values[now], earlier = before === null ? null : line.values[before];
    const count = line.of === GOROUTINES ? grouped(value ?? 0) : amount(line.of, value ?? 0);
    const change = value === null || earlier === null || value === earlier ? "" : line.of === GOROUTINES ? Math.abs(value - earlier) : amount(line.of, Math.abs(value - earlier));
    const above = is_drawn(line, lines) ? "" : ", far above";
    const text = value === null ? "not known" : count + above + (change === "" ? "" : ` (${value < earlier ? "−" : "+"}${change})`);
    const key = drawn("svg", { viewBox: "0 0 24 8", class: "key", "aria-hidden": "true" });
    key.append(drawn("path", { class: `line ${line.key}`, d: "M0,4 L24,4" }));
    const item = element("span", { className: "level" }, key, line.label + " ", element("b", { textContent: text }));
    item.dataset.key = line.key;
    item.dataset.value = value ?? "";
    return item;
  });
  return items;
}

function levels_view({ levels, shots, process, since, at }) {
  const lines = levels.lines(process);
  if (lines.length === 0) return [];
  const now = levels.at(shots[at].end), before = since === null ? null : levels.at(shots[since].end);
  const { times } = levels;
  const groups = [
    { lines: lines.filter(line => line.of === BYTES), high: 110, label: "memory" },
    { lines: lines.filter(line => line.of === GOROUTINES), high: 44, label: "goroutines" },
  ].filter(group => group.lines.length > 0);
  return groups.flatMap(group => [
    element("p", { className: "told" }, ...told_levels(group.lines, now, before)),
    chart({ ...group, times, shots, since, at }),
  ]);
}
