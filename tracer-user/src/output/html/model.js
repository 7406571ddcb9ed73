"use strict";
// What there is to show, and its sums. Knows nothing of the page.

async function unpack(text) {
  if (typeof DecompressionStream === "undefined") throw new Error("this page needs a browser of 2023 or later");
  const packed = Uint8Array.from(atob(text), c => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

class Model {
  constructor(document) {
    this.document = document;
    const { nodes, series } = document;
    // Frames of each series, outermost first.
    const paths = [];
    const path = node => {
      const frames = [];
      for (; node > 0; node = nodes.parent[node - 1]) frames.push(nodes.frame[node - 1]);
      return frames.reverse();
    };
    series.node.forEach(node => paths.push(path(node)));
    this.paths = paths;
  }

  get last() { return this.document.shots.length - 1; }

  name(frame) { return this.document.strings[this.document.frames.function[frame]]; }

  place(frame) {
    const { frames, strings } = this.document;
    const file = strings[frames.file[frame]];
    return file ? file + (frames.line[frame] ? ":" + frames.line[frame] : "") : "";
  }

  // Where several frames of one function are.
  where(frames) {
    const places = [...new Set([...frames].map(frame => this.place(frame)))];
    const shown = places.slice(0, 4).map((place, at) => at === 0 ? place : place.replace(/^.*:/, ""));
    return shown.join(", ") + (places.length > 4 ? ", …" : "");
  }

  kind(frame) { return this.document.kinds[this.document.frames.kind[frame]].label; }

  // Values of all series in one snapshot.
  values(shot, value) {
    const values = new Float64Array(this.paths.length);
    for (let at = 0; at <= shot; at++) this.change(at, value, (series, by) => { values[series] += by; });
    return values;
  }

  change(shot, value, see) {
    const { gaps, by } = this.document.shots[shot];
    let series = 0;
    gaps.forEach((gap, at) => { series += gap; see(series++, by[value][at]); });
  }

  // What changed since a snapshot; without one, what there is.
  between(since, shot, value) {
    const values = this.values(shot, value);
    if (since !== null) this.values(since, value).forEach((before, at) => { values[at] -= before; });
    return values;
  }

  // The sum in each snapshot.
  totals(value, process) {
    let sum = 0;
    return this.document.shots.map((_, shot) => {
      this.change(shot, value, (series, by) => { if (this.is_of(series, process)) sum += by; });
      return sum;
    });
  }

  is_of(series, process) { return process === null || this.document.series.process[series] === process; }

  // Calls, merged by function; only what grew has a width.
  tree(values, process) {
    const node_of = (label, parent) => ({ label, frames: new Set(), value: 0, self: 0, children: new Map(), parent });
    const root = node_of("all", null);
    const several = process === null && this.document.processes.length > 1;
    values.forEach((value, series) => {
      if (value <= 0 || !this.is_of(series, process)) return;
      root.value += value;
      let node = root;
      const enter = (label, frame) => {
        let next = node.children.get(label);
        if (!next) node.children.set(label, next = node_of(label, node));
        if (frame !== null) next.frames.add(frame);
        next.value += value;
        node = next;
      };
      if (several) enter(this.document.processes[this.document.series.process[series]].name, null);
      for (const frame of this.paths[series]) enter(this.name(frame), frame);
      node.self += value;
    });
    return root;
  }

  // A row for each function: its own, and with all that it calls, once for each stack.
  table(values, process) {
    const rows = new Map();
    const row = frame => {
      const name = this.name(frame);
      if (!rows.has(name)) rows.set(name, { name, frames: new Set(), self: 0, total: 0 });
      const row = rows.get(name);
      row.frames.add(frame);
      return row;
    };
    values.forEach((value, series) => {
      if (value === 0 || !this.is_of(series, process)) return;
      const path = this.paths[series];
      if (path.length === 0) return;
      row(path[path.length - 1]).self += value;
      new Set(path.map(row)).forEach(row => { row.total += value; });
    });
    return [...rows.values()].map(row => ({ ...row, place: this.where(row.frames) }));
  }

  // The sum of the stacks that have a frame of these.
  matched(values, process, is_hit) {
    const frames = this.document.frames.function.map((_, frame) => is_hit(this.name(frame), this.place(frame)));
    let sum = 0;
    values.forEach((value, series) => {
      if (value > 0 && this.is_of(series, process) && this.paths[series].some(frame => frames[frame])) sum += value;
    });
    return sum;
  }
}

function grouped(count) { return Math.round(count).toString().replace(/\B(?=(\d{3})+$)/g, ","); }

function scaled(value, base, units, digits) {
  let unit = 0;
  while (value >= base - base / 20480 && unit + 1 < units.length) { value /= base; unit++; }
  return unit === 0 ? grouped(value) + " " + units[0] : value.toFixed(digits) + " " + units[unit];
}

// As heaptap writes amounts everywhere.
function amount(of, count) {
  const sign = count < 0 ? "−" : "";
  const size = Math.abs(count);
  if (of.unit === "bytes") return sign + scaled(size, 1024, ["B", "KiB", "MiB", "GiB", "TiB", "PiB"], 1);
  if (of.unit === "nanoseconds") return sign + scaled(size, 1000, ["ns", "µs", "ms", "s"], 1);
  return sign + grouped(size) + " " + (size === 1 ? of.noun.replace(/(?<=ss)es$|s$/, "") : of.noun);
}

function percent(part, whole) {
  const share = whole === 0 ? 0 : 100 * part / whole;
  return share > 0 && share < 0.05 ? "<0.1 %" : share.toFixed(1) + " %";
}

function utc(millis) { return new Date(millis).toISOString().replace("T", " ").slice(0, 19) + " UTC"; }

function length(millis) {
  const seconds = Math.floor(millis / 1000);
  if (seconds < 1) return millis + " ms";
  if (seconds < 120) return (millis / 1000).toFixed(1) + " s";
  if (seconds < 7200) return Math.floor(seconds / 60) + " min " + seconds % 60 + " s";
  return Math.floor(seconds / 3600) + " h " + Math.floor(seconds / 60) % 60 + " min";
}

// What a search means: a text, or a pattern between slashes.
function matcher(search) {
  const pattern = /^\/(.+)\/$/.exec(search);
  if (pattern) {
    try {
      const expression = new RegExp(pattern[1], "i");
      return (name, place) => expression.test(name) || expression.test(place);
    } catch { return null; }
  }
  const text = search.toLowerCase();
  return (name, place) => name.toLowerCase().includes(text) || place.toLowerCase().includes(text);
}
