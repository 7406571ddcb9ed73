"use strict";
// How it is drawn: each view takes what it shows and makes elements. Texts are set as texts, never as HTML.

const NARROW = 0.0005;
const ROW = 17;
const ROWS = 200;

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function drawn(tag, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

// A node's path from the outermost frame on, as texts.
function path_of(node) {
  const path = [];
  for (; node.parent; node = node.parent) path.push(node.label);
  return path.reverse();
}

function flame({ model, root, of, zoomed, is_hit, zoom, tell }) {
  const box = element("div", { className: "flame" });
  let depth = 0;
  const put = (node, left, width, row, above) => {
    depth = Math.max(depth, row + 1);
    const [first] = node.frames;
    const color = first === undefined ? "d6dbe2" : model.document.frames.color[first];
    const place = model.where(node.frames);
    const frame = element("div", { className: "frame", textContent: width > 0.012 ? node.label : "" });
    frame.style.cssText = `left:${100 * left}%;width:${100 * width}%;top:${ROW * row}px;background:#${color}`;
    frame.dataset.name = node.label;
    frame.dataset.value = node.value;
    if (width > 0.03) frame.tabIndex = 0;
    const hit = is_hit && node.parent && is_hit(node.label, place);
    if (hit) frame.classList.add("hit");
    if (above || is_hit && !hit) frame.classList.add("dim");
    const kind = first === undefined ? "" : "; " + model.kind(first);
    const own = node.self > 0 && node.self < node.value ? `, of that its own ${amount(of, node.self)}` : "";
    const text = `${node.label}: ${amount(of, node.value)}, ${percent(node.value, root.value)}${own}${kind}` +
      (place && "; " + place);
    frame.title = text;
    frame.onmouseenter = frame.onfocus = () => tell(text);
    frame.onclick = () => zoom(path_of(node));
    frame.onkeydown = event => { if (event.key === "Enter") zoom(path_of(node)); };
    box.append(frame);
  };
  const below = (node, left, width, row) => {
    const children = [...node.children.values()].sort((a, b) => a.label < b.label ? -1 : 1);
    for (const child of children) {
      const share = width * child.value / node.value;
      if (share >= NARROW) {
        put(child, left, share, row, false);
        below(child, left, share, row + 1);
      }
      left += share;
    }
  };
  const above = [];
  for (let node = zoomed.parent; node; node = node.parent) above.unshift(node);
  above.forEach((node, row) => put(node, 0, 1, row, true));
  put(zoomed, 0, 1, above.length, false);
  below(zoomed, 0, 1, above.length + 1);
  box.style.height = ROW * depth + "px";
  return box;
}

const COLUMNS = { self: "own", total: "with what it calls", name: "function" };

function table({ rows, of, total, sort, is_hit, sorted, shown, more }) {
  const order = sort.column === "name" ? (a, b) => a.name < b.name ? -1 : 1 : (a, b) => Math.abs(b[sort.column]) - Math.abs(a[sort.column]);
  rows = is_hit ? rows.filter(row => is_hit(row.name, row.place)) : rows;
  rows.sort(order);
  if (sort.turned) rows.reverse();
  const head = element("tr", {});
  for (const column of ["self", "total", "name"]) {
    const button = element("button", { textContent: COLUMNS[column], onclick: () => sorted(column) });
    const cell = element("th", { className: column }, button);
    if (column === sort.column) cell.ariaSort = sort.turned ? "ascending" : "descending";
    head.append(cell);
    if (column !== "name" && total > 0) head.append(element("th", { textContent: "%" }));
  }
  head.append(element("th", { className: "name", textContent: "where" }));
  const body = element("tbody", {});
  for (const row of rows.slice(0, shown)) {
    const made = element("tr", {});
    for (const value of [row.self, row.total]) {
      made.append(element("td", { textContent: amount(of, value), className: value < 0 ? "less" : "" }));
      if (total > 0) made.append(element("td", { textContent: percent(value, total) }));
    }
    made.dataset.self = row.self;
    made.dataset.total = row.total;
    made.append(element("td", { className: "name", textContent: row.name }), element("td", { className: "name place", textContent: row.place }));
    body.append(made);
  }
  const box = element("div", { className: "scroll" }, element("table", {}, element("thead", {}, head), body));
  if (rows.length > shown) {
    const text = `${grouped(rows.length - shown)} more functions`;
    box.append(element("button", { textContent: text, onclick: () => more(shown + 10 * ROWS) }));
  }
  return box;
}

function tree({ model, root, of, is_hit }) {
  const box = element("div", { className: "tree" });
  const put = (parent, node, open) => {
    const place = model.where(node.frames);
    const name = element("span", { textContent: node.label + " " });
    if (is_hit && is_hit(node.label, place)) name.className = "hit";
    const summary = element("summary", {},
      element("span", { className: "amount", textContent: `${amount(of, node.value)}  ${percent(node.value, root.value)}` }),
      name, element("span", { className: "place", textContent: place }));
    const details = element("details", {}, summary);
    const children = [...node.children.values()].sort((a, b) => b.value - a.value);
    if (children.length === 0) details.className = "leaf";
    // Children are made when they are looked at.
    const fill = () => {
      if (details.childElementCount > 1) return;
      children.slice(0, ROWS).forEach((child, at) => put(details, child, open && at === 0));
      if (children.length > ROWS) details.append(element("p", { textContent: `${grouped(children.length - ROWS)} more` }));
    };
    details.ontoggle = () => { if (details.open) fill(); };
    parent.append(details);
    // The way of the largest is open.
    if (open && children.length > 0) { fill(); details.open = true; }
  };
  put(box, root, true);
  return box;
}

const WIDE = 1000;
const HIGH = 100;

// Where on the line a time is.
function across(shots, time) {
  const first = shots[0].end, last = shots[shots.length - 1].end;
  return last > first ? WIDE * (time - first) / (last - first) : 0;
}

function timeline(svg, { shots, totals, of, since, at }) {
  svg.setAttribute("viewBox", `0 0 ${WIDE} ${HIGH}`);
  const most = totals.reduce((most, total) => Math.max(most, total), 1);
  const points = totals.map((total, shot) => `${across(shots, shots[shot].end).toFixed(2)},${(HIGH - 2 - (HIGH - 8) * Math.max(0, total) / most).toFixed(2)}`);
  const x = shot => across(shots, shots[shot].end);
  const parts = [
    drawn("path", { class: "area", d: `M0,${HIGH} L${points.join(" L")} L${WIDE},${HIGH} Z` }),
    drawn("path", { class: "curve", d: `M${points.join(" L")}` }),
  ];
  if (since !== null) {
    parts.push(drawn("rect", { class: "range", x: x(since), y: 0, width: Math.max(0, x(at) - x(since)), height: HIGH }));
    parts.push(drawn("line", { class: "mark since", x1: x(since), x2: x(since), y1: 0, y2: HIGH }));
  }
  parts.push(drawn("line", { class: "mark", x1: x(at), x2: x(at), y1: 0, y2: HIGH }));
  svg.replaceChildren(...parts);
  return `up to ${amount(of, most)}`;
}
