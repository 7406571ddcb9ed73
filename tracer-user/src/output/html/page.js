"use strict";
// What users do, and what is shown for it. The state is in the address, so that it can be kept and sent.

async function start() {
  const get = id => document.getElementById(id);
  const model = new Model(await unpack(get("document").textContent));
  const { shots, values, processes, kinds, title, notes } = model.document;
  const state = { at: model.last, since: null, value: model.document.value, process: null, view: "flame", search: "", zoom: [] };
  const levels = new Levels(model.document.levels);
  const table_state = { sort: { column: "self", turned: false }, shown: ROWS };

  function read() {
    const given = new URLSearchParams(location.hash.slice(1));
    const shot = name => {
      const at = Number.parseInt(given.get(name), 10);
      return at >= 0 && at <= model.last ? at : null;
    };
    state.at = shot("at") ?? model.last;
    state.since = shot("since");
    if (state.since !== null && state.since >= state.at) state.since = null;
    const value = values.findIndex(of => of.kind === given.get("value"));
    state.value = value >= 0 ? value : model.document.value;
    const process = Number.parseInt(given.get("process"), 10);
    state.process = process >= 0 && process < processes.length ? process : null;
    state.view = ["table", "tree"].includes(given.get("view")) ? given.get("view") : "flame";
    state.search = given.get("search") ?? "";
    state.zoom = given.getAll("zoom");
  }

  function keep() {
    const kept = new URLSearchParams();
    if (state.at !== model.last) kept.set("at", state.at);
    if (state.since !== null) kept.set("since", state.since);
    if (state.value !== model.document.value) kept.set("value", values[state.value].kind);
    if (state.process !== null) kept.set("process", state.process);
    if (state.view !== "flame") kept.set("view", state.view);
    if (state.search) kept.set("search", state.search);
    state.zoom.forEach(label => kept.append("zoom", label));
    history.replaceState(null, "", "#" + kept);
  }

  function set(changes) {
    Object.assign(state, changes);
    if (state.since !== null && state.since >= state.at) state.since = state.at > 0 ? state.at - 1 : null;
    keep();
    show();
  }

  // The node that is looked into; nearer to the root where it is not there at this time.
  function zoomed(root) {
    let node = root;
    for (const label of state.zoom) {
      const next = node.children.get(label);
      if (!next) break;
      node = next;
    }
    return node;
  }

  function show() {
    const of = values[state.value], shot = shots[state.at];
    get("value").value = state.value;
    get("process").value = state.process ?? "";
    get("at").value = state.at;
    get("compare").checked = state.since !== null;
    get("from").disabled = state.since === null;
    get("from").value = state.since ?? 0;
    if (get("search").value !== state.search) get("search").value = state.search;
    for (const tab of get("views").children) tab.ariaSelected = String(tab.dataset.view === state.view);

    const found = model.between(state.since, state.at, state.value);
    let sum = 0, more = 0;
    found.forEach((value, series) => {
      if (model.is_of(series, state.process)) { sum += value; more += Math.max(0, value); }
    });
    const time = shots.length > 1 || shot.begin === shot.end ? utc(shot.end) : `${utc(shot.begin)}, for ${length(shot.end - shot.begin)}`;
    if (state.since === null) {
      get("total").textContent = `${of.kind}: ${amount(of, sum)} at ${time}`;
    } else {
      const before = shots[state.since];
      const less = more > sum ? `; more: ${amount(of, more)}, less: ${amount(of, more - sum)} (in the table)` : "";
      get("total").textContent = `${of.kind}: changed by ${amount(of, sum)} from ${utc(before.end)} to ${utc(shot.end)} (${length(shot.end - before.end)})${less}`;
    }
    get("total").dataset.sum = sum;

    const is_hit = state.search ? matcher(state.search) : null;
    get("matched").hidden = !state.search;
    if (is_hit) {
      const matched = model.matched(found, state.process, is_hit);
      get("matched").textContent = `matched: ${amount(of, matched)}, ${percent(matched, more)}`;
      get("matched").dataset.sum = matched;
    } else if (state.search) {
      get("matched").textContent = "this is no pattern";
    }

    get("view").replaceChildren(view(of, found, sum, more, is_hit));
    get("detail").textContent = "";
    const facts = [processes.filter((_, at) => state.process === null || state.process === at).slice(0, 8).map(one => one.facts).join("; ")];
    const strings = at => model.document.strings[at];
    facts.push(...shot.facts.map(strings), ...notes);
    get("facts").replaceChildren(
      ...shot.losses.map(at => element("li", { className: "loss", textContent: strings(at) })),
      ...facts.filter(fact => fact).map(fact => element("li", { textContent: fact })));
    if (shots.length > 1) {
      const totals = model.totals(state.value, state.process);
      get("levels").replaceChildren(...levels.there ? levels_view({ levels, shots, process: state.process, since: state.since, at: state.at }) : []);
      get("levels").hidden = get("levels").childElementCount === 0;
      get("most").textContent = timeline(get("timeline"), { shots, totals, of, since: state.since, at: state.at });
    }
  }

  function view(of, found, sum, more, is_hit) {
    if (state.view === "table") {
      const sorted = column => {
        const { sort } = table_state;
        table_state.sort = { column, turned: sort.column === column && !sort.turned };
        show();
      };
      const rows = model.table(found, state.process);
      if (rows.length === 0) return nothing();
      return table({ rows, of, total: state.since === null ? sum : 0, is_hit, ...table_state, sorted, more: shown => { table_state.shown = shown; show(); } });
    }
    if (more === 0) return nothing();
    const root = model.tree(found, state.process);
    if (state.view === "tree") return tree({ model, root, of, is_hit });
    const tell = text => { get("detail").textContent = text; };
    return flame({ model, root, of, zoomed: zoomed(root), is_hit, zoom: zoom => set({ zoom }), tell });
  }

  function nothing() {
    return element("p", { className: "nothing", textContent: state.since === null ? "Nothing was there." : "Nothing grew." });
  }

  // The snapshot nearest to where the pointer is.
  function pointed(event) {
    const box = get("timeline").getBoundingClientRect();
    const x = WIDE * (event.clientX - box.left) / box.width;
    let best = 0;
    shots.forEach((shot, at) => {
      if (Math.abs(across(shots, shot.end) - x) < Math.abs(across(shots, shots[best].end) - x)) best = at;
    });
    return best;
  }

  get("title").textContent = title;
  values.forEach((of, at) => get("value").append(element("option", { value: at, textContent: of.kind })));
  get("process").append(element("option", { value: "", textContent: processes.length === 1 ? processes[0].name : `all ${grouped(processes.length)} processes` }));
  if (processes.length > 1) processes.forEach((one, at) => get("process").append(element("option", { value: at, textContent: one.name })));
  const used = new Set(model.document.frames.kind);
  kinds.forEach((kind, at) => {
    if (!used.has(at)) return;
    const swatch = element("span", { className: "swatch" });
    swatch.style.background = "#" + kind.color;
    get("legend").append(element("span", {}, swatch, kind.label));
  });
  get("at").max = get("from").max = model.last;
  get("time").hidden = shots.length < 2;
  get("first").textContent = utc(shots[0].end);
  get("end").textContent = utc(shots[model.last].end);

  get("value").onchange = event => set({ value: Number(event.target.value) });
  get("process").onchange = event => set({ process: event.target.value === "" ? null : Number(event.target.value), zoom: [] });
  get("at").oninput = event => set({ at: Number(event.target.value) });
  get("from").oninput = event => set({ since: Math.min(Number(event.target.value), state.at - 1) });
  get("compare").onchange = event => set({ since: event.target.checked && state.at > 0 ? 0 : null });
  get("search").oninput = event => set({ search: event.target.value });
  for (const tab of get("views").children) tab.onclick = () => set({ view: tab.dataset.view });

  // All charts are of the same time: what is pointed at in one is meant in all.
  let pressed = null;
  for (const place of [get("timeline"), get("levels")]) {
    place.onpointerdown = event => {
      if (!event.target.closest("#timeline, .chart")) return;
      pressed = pointed(event);
      place.setPointerCapture?.(event.pointerId);
      set({ at: pressed, since: null });
    };
    place.onpointermove = event => {
      if (pressed === null) return;
      const here = pointed(event);
      set(here === pressed ? { at: here, since: null } : { at: Math.max(here, pressed), since: Math.min(here, pressed) });
    };
    place.onpointerup = place.onpointercancel = () => { pressed = null; };
  }
  document.onkeydown = event => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Escape") { set({ zoom: [], search: "" }); get("search").blur(); }
    else if (event.target.matches("input, select")) return;
    else if (event.key === "/") { event.preventDefault(); get("search").focus(); }
    else if (event.key === "ArrowLeft" && state.at > 0) set({ at: state.at - 1 });
    else if (event.key === "ArrowRight" && state.at < model.last) set({ at: state.at + 1 });
  };
  addEventListener("hashchange", () => { read(); show(); });
  read();
  show();
  document.documentElement.dataset.ready = "yes";
}

start().catch(error => {
  document.body.prepend(Object.assign(document.createElement("p"), { className: "failure", textContent: "This page can't be shown: " + error.message }));
});
