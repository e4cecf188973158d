// A mark after a formula, and a bracket before it, stay on its line.
function keepMarks() {
  for (const formula of document.querySelectorAll(".bd-article span.math")) {
    const { previousSibling: before, nextSibling: after } = formula;
    const mark = after?.nodeType == Node.TEXT_NODE ? after.data.match(/^[.,;:!?)\]’”…-]+/)?.[0] : "";
    const bracket = before?.nodeType == Node.TEXT_NODE ? before.data.match(/[([“‘]+$/)?.[0] : "";
    if (!mark && !bracket) continue;
    const kept = document.createElement("span");
    kept.className = "kept";
    formula.replaceWith(kept);
    kept.append(bracket ?? "", formula, mark ?? "");
    if (bracket) before.data = before.data.slice(0, -bracket.length);
    if (mark) after.data = after.data.slice(mark.length);
  }
}
window.addEventListener("DOMContentLoaded", keepMarks);

// "The code of this figure" leads to a folded cell: unfold it.
function unfold() {
  const target = location.hash.startsWith("#code-") && document.getElementById(location.hash.slice(1));
  const cell = target && document.querySelectorAll("div.cell");
  const made = cell && [...cell].find((each) => target.compareDocumentPosition(each) & Node.DOCUMENT_POSITION_FOLLOWING);
  const folded = made && made.querySelector("details.hide");
  if (folded) {
    folded.open = true;
    target.scrollIntoView();
  }
}
window.addEventListener("hashchange", unfold);
window.addEventListener("load", unfold);
// A second click on the same link changes no hash.
document.addEventListener("click", (event) => {
  if (event.target.closest("a.code")) setTimeout(unfold);
});

// What is wider than its place scrolls: it gets a sign at the edge beyond which it goes on, and the
// keyboard reaches it.
const SCROLLERS = "div.picture, div.cell_output, div.output, .pst-scrollable-table-container, div.math, pre, mjx-container";
function markEdges(box) {
  const beyond = box.scrollWidth - box.clientWidth;
  const scrolls = beyond > 1 && /auto|scroll/.test(getComputedStyle(box).overflowX);
  box.classList.toggle("goes-on", scrolls && box.scrollLeft < beyond - 1);
  box.classList.toggle("came-from", scrolls && box.scrollLeft > 1);
  if (scrolls) box.tabIndex = 0;
}
function markWide() {
  for (const formula of document.querySelectorAll(".bd-article mjx-container:not([display])")) {
    formula.classList.remove("wide");
    const line = formula.closest("p, li, dd, td, figcaption, section").clientWidth;
    const kept = formula.closest(".kept") ?? formula;  // with the mark that follows it
    formula.classList.toggle("wide", kept.getBoundingClientRect().width > line && line > 0);
  }
  document.querySelectorAll(SCROLLERS).forEach(markEdges);
}
function wrapPictures() {
  for (const picture of document.querySelectorAll("figure > img")) {
    const box = document.createElement("div");
    box.className = "picture";
    picture.replaceWith(box);
    box.append(picture, ...pieces(picture, box.parentElement.className));
  }
}
// A figure of the class cut-30-60 parts there, in percent of its width: on a phone its pieces stand one
// below the other, in one scale.
function pieces(picture, names) {
  const cuts = names.match(/\bcut((?:-\d+)+)\b/)?.[1].split("-").slice(1).map(Number) ?? [];
  if (!cuts.length) return [];
  picture.classList.add("whole");
  const parts = [...cuts, 100].map((to, at) => (to - (at && cuts[at - 1])) / 100);
  return parts.map((part, at) => {
    const piece = picture.cloneNode(), from = at && cuts[at - 1];
    piece.className = "piece";
    if (at) piece.alt = `Part ${at + 1} of this figure`;
    piece.style.width = `${(100 * part) / Math.max(...parts)}%`;
    piece.style.objectPosition = `${from / (1 - part)}% 0`;
    const shape = () => {
      piece.style.maxWidth = `${part * piece.naturalWidth}px`;
      piece.style.aspectRatio = (part * piece.naturalWidth) / piece.naturalHeight;
    };
    if (piece.complete && piece.naturalWidth) shape();
    piece.addEventListener("load", shape);
    return piece;
  });
}
window.addEventListener("DOMContentLoaded", wrapPictures);
window.addEventListener("load", () => (window.MathJax?.startup?.promise ?? Promise.resolve()).then(markWide));
window.addEventListener("resize", markWide);
document.addEventListener("toggle", markWide, true);
document.addEventListener("click", (event) => {
  if (event.target.closest(".toggle-button, .admonition-title")) setTimeout(markWide);
});
document.addEventListener("scroll", (event) => {
  if (event.target.matches?.(SCROLLERS)) markEdges(event.target);
}, true);

// What readers with a screen reader need, and the theme does not give: the bar at the side is a
// landmark with a name, and a corner of a table that heads nothing is no head.
function nameParts() {
  const bar = document.querySelector(".bd-sidebar-primary");
  bar?.setAttribute("role", "navigation");
  bar?.setAttribute("aria-label", "The book");
  for (const head of document.querySelectorAll(".bd-article th")) {
    if (head.textContent.trim() || head.querySelector("img, mjx-container")) continue;
    const corner = document.createElement("td");
    for (const { name, value } of head.attributes) corner.setAttribute(name, value);
    corner.removeAttribute("scope");
    head.replaceWith(corner);
  }
  // The list of references is a list; the theme gives its entries a role that is gone.
  for (const entry of document.querySelectorAll("div.citation")) entry.setAttribute("role", "listitem");
  // A signature that takes several lines is no list of words and meanings.
  for (const part of document.querySelectorAll("dt.sig dl > dd, dt.sig dl")) {
    const box = document.createElement("div");
    box.className = part.tagName == "DD" ? "parameter" : "parameters";
    box.append(...part.childNodes);
    part.replaceWith(box);
  }
}
window.addEventListener("DOMContentLoaded", nameParts);
