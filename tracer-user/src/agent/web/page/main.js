// The page: which view is shown, and one question a second while somebody can see it.

import { ask } from "./ask.js";
import { say } from "./dom.js";
import { NodeView } from "./node.js";
import { ProcessView } from "./process.js";
import { bytes, clock, percent, seconds } from "./text.js";

const EVERY = 1000;
/** Looks that are older are told, in milliseconds. */
const OLD = 5000;
const get = id => document.getElementById(id);

let view = null;
let timer = null;
/** What the last answer was about: when it was made there, and when that has changed here. */
let last = { time: null, changed: 0, at: null };
let cost = null;

function route() {
  if (location.hash === "#main") return;
  const [, pid] = /^#\/process\/(\d+)$/.exec(location.hash) ?? [];
  view?.close();
  view = pid ? new ProcessView(Number(pid)) : new NodeView();
  get("main").replaceChildren(view.element);
  document.title = view.title;
  // What the agent takes is told where the node is shown.
  if (pid) say(get("cost"), "");
  if (pid && !get("who").textContent) ask("/api/v1/node").then(({ node }) => say(get("who"), node), () => {});
  // A new view begins at its top, for those who read it too.
  if (last.at != null) get("main").focus();
  scrollTo(0, 0);
  next(0);
}

function stale(text) {
  const line = get("stale");
  line.hidden = !text;
  say(line, text);
}

/** What the agent takes itself. */
function own({ node, version, time, own: { cpu_seconds: cpu, resident, round_seconds: round } }) {
  say(get("who"), node);
  get("who").title = `heaptap ${version}`;
  if (cost && time > cost.time) cost.part = (cpu - cost.cpu) / ((time - cost.time) / 1000);
  if (!cost || time > cost.time) cost = { part: cost?.part, cpu, time };
  say(get("cost"), `agent: ${percent(cost.part)} of a CPU, ${bytes(resident)}; round ${seconds(round)}`);
}

function fresh(time) {
  const now = performance.now();
  if (time !== last.time) last = { time, changed: now, at: last.at };
  const age = now - last.changed;
  stale(age > OLD ? `The agent has not looked for ${seconds(age / 1000)}: what is shown is of ${clock(time)}.` : "");
}

async function tick() {
  const asked = view;
  const began = performance.now();
  try {
    const answer = await ask(asked.path);
    if (asked !== view) return;
    asked.show(answer);
    last.at = Date.now();
    if (answer.node?.own) own(answer.node);
    fresh(answer.node?.time ?? answer.time);
    document.title = asked.title;
  } catch (error) {
    if (asked !== view) return;
    if (!asked.gone?.(error)) stale(`${error.message} ${last.at ? `What is shown is of ${clock(last.at)}.` : ""}`);
    if (error.status === undefined) throw error;
  } finally {
    if (asked === view) next(Math.max(EVERY - (performance.now() - began), 100));
  }
}

/** Asks again in a while, unless nobody looks. */
function next(wait) {
  clearTimeout(timer);
  timer = document.hidden ? null : setTimeout(tick, wait);
}

document.addEventListener("visibilitychange", () => next(0));
addEventListener("hashchange", route);
get("skip").addEventListener("click", event => {
  event.preventDefault();
  get("main").focus();
});
addEventListener("keydown", event => {
  const filter = document.querySelector("main [data-filter]");
  const isTyping = event.target.closest("input, select, textarea");
  if (event.key === "/" && filter && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    filter.focus();
    filter.select();
  }
  if (event.key === "Escape" && isTyping?.type === "search") {
    isTyping.value = "";
    isTyping.dispatchEvent(new Event("input"));
  }
});
route();
