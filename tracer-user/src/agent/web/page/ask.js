// Asks the agent. In: paths. Out: documents and texts, or why not in one line. The only one that knows of the token:
// it is kept for this tab, and sent as a header; it is never part of an address.

const KEY = "heaptap-token";
const WITHIN = 30000;

/** Why there is no answer; status 0: nobody answers. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

const token = () => sessionStorage.getItem(KEY);
let given = null;

/** Waits until somebody has typed a token; those who wait at the same time wait for the same. */
function typed(wrong) {
  given ??= new Promise(go => {
    const form = document.getElementById("token");
    document.getElementById("wrong").textContent = wrong ? "That is not the token." : "";
    form.hidden = false;
    form.elements.token.focus();
    form.addEventListener("submit", event => {
      event.preventDefault();
      sessionStorage.setItem(KEY, form.elements.token.value.trim());
      form.reset();
      form.hidden = true;
      given = null;
      go();
    }, { once: true });
  });
  return given;
}

async function why(answer) {
  const text = await answer.text();
  try {
    return JSON.parse(text).error ?? text;
  } catch {
    return text.trim() || `status ${answer.status}`;
  }
}

/** The answer to a request that was accepted. */
async function accepted(path, method) {
  for (;;) {
    const known = token();
    const headers = known ? { Authorization: `Bearer ${known}` } : {};
    // What no page from elsewhere can send without being asked whether it may.
    if (method !== "GET") headers["Content-Type"] = "application/json";
    let answer;
    try {
      answer = await fetch(path, { method, headers, cache: "no-store", signal: AbortSignal.timeout(WITHIN) });
    } catch {
      throw new Refused(0, "The agent does not answer.");
    }
    if (answer.ok) return answer;
    if (answer.status !== 401) throw new Refused(answer.status, await why(answer));
    if (known === token()) await typed(known !== null);
  }
}

/** A document. */
export const ask = async path => (await accepted(path, "GET")).json();

/** A text. */
export const text = async path => (await accepted(path, "GET")).text();

/** Has something done. */
export const post = async path => (await accepted(path, "POST")).json();

/** Makes a link to a file work where a token is needed: a browser sends none by itself. */
export function fetched(link) {
  link.addEventListener("click", async event => {
    if (!token() || link.href.startsWith("blob:")) return;
    event.preventDefault();
    try {
      const answer = await accepted(link.href, "GET");
      const told = /filename="([^"]+)"/.exec(answer.headers.get("Content-Disposition") ?? "");
      const address = URL.createObjectURL(await answer.blob());
      const once = Object.assign(document.createElement("a"), { href: address, download: told?.[1] ?? "" });
      once.click();
      setTimeout(() => URL.revokeObjectURL(address), 60000);
    } catch (error) {
      link.title = error.message;
    }
  });
  return link;
}
