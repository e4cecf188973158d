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
