// Shows a picture that inferno has drawn, and lets the page outside zoom and search in it. inferno's own script
// (inferno.js) does both; it knows the picture by global names. A script in the picture itself never runs.

const LINE = 18;
/** What a picture has of its own to work alone. Names in it are escaped: none is taken for this. */
const OWN = [/<script[^]*?<\/script>/, /<style[^]*?<\/style>/, / onload="[^"]*"/, / style="[^"]*"/g];

/** inferno's script reads the width from the picture, and can't do with none. */
function fit() {
  const width = document.documentElement.clientWidth;
  if (width > 0) document.querySelector("body > svg")?.setAttribute("width", width);
  return width > 0;
}

// Before inferno's own listener.
addEventListener("resize", event => {
  if (!fit()) event.stopImmediatePropagation();
});

/** Draws; gives the height in pixels. */
function show(text) {
  const bare = OWN.reduce((rest, part) => rest.replace(part, ""), text);
  const drawn = new DOMParser().parseFromString(bare, "image/svg+xml").documentElement;
  if (drawn.localName !== "svg") return 0;
  const height = Number(drawn.getAttribute("height"));
  drawn.setAttribute("aria-hidden", "true");
  document.body.replaceChildren(document.importNode(drawn, true));
  // Where nothing was recorded there is nothing to zoom into.
  if (!document.getElementById("frames")) return height;
  init();
  fit();
  // The page outside says what stands above the legend.
  const above = Math.max(Number(document.getElementById("legend")?.getAttribute("y") ?? 0) - LINE, 0);
  svg.classList.add("flame");
  svg.style.marginTop = `${-above}px`;
  scrollTo(0, height);
  return height - above;
}

/** Marks what matches; says how much that is, "" for no term, or why not. */
function find(term) {
  if (!document.getElementById("frames")) return "";
  if (searching) {
    reset_search();
    searching = 0;
    matchedtxt.firstChild.nodeValue = " ";
  }
  if (!term) return "";
  try {
    search(term);
  } catch (error) {
    return error instanceof SyntaxError ? "no regular expression" : error.message;
  }
  return searching ? matchedtxt.firstChild.nodeValue : "nothing matches";
}

/** Back to the whole. */
function whole() {
  if (document.getElementById("frames")) unzoom();
}
