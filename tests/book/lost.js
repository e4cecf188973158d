// What of a page cannot be seen: pictures, formulae and text that reach beyond the screen, or beyond a
// box that cuts them off and does not scroll. Everything folded is opened first.
() => {
  document.querySelectorAll("details").forEach((details) => (details.open = true));
  document.querySelectorAll(".toggle-hidden").forEach((box) => box.classList.remove("toggle-hidden"));
  window.dispatchEvent(new Event("resize"));

  const lost = (element, right) => {
    for (let up = element; up.parentElement && up !== document.body; up = up.parentElement) {
      const style = getComputedStyle(up), box = up.getBoundingClientRect();
      if (style.visibility == "hidden" || box.width <= 2) return false;
      const edge = box.right + 1.5;
      if (/auto|scroll/.test(style.overflowX)) right = Math.min(right, box.right);
      else if (/hidden|clip/.test(style.overflowX) && right > edge) return true;
    }
    return right > document.documentElement.clientWidth + 1.5;
  };

  const found = new Map();
  const article = document.querySelector(".bd-article") || document.body;
  for (const seen of article.querySelectorAll("img, mjx-container, mjx-math")) {
    const box = seen.getBoundingClientRect(), owner = seen.closest("mjx-container") || seen;
    if (box.width && lost(seen, box.right)) found.set(owner, owner.tagName);
  }
  const unread = "script, style, mjx-container, .headerlink, .visually-hidden, button";
  const words = document.createTreeWalker(article, NodeFilter.SHOW_TEXT);
  while (words.nextNode()) {
    const parent = words.currentNode.parentElement;
    if (!words.currentNode.data.trim() || parent.closest(unread)) continue;
    const range = document.createRange();
    range.selectNodeContents(words.currentNode);
    if ([...range.getClientRects()].some((box) => box.width && lost(parent, box.right))) {
      const owner = parent.closest("table, pre, p, li, dt, dd, h1, h2, h3, summary") || parent;
      found.set(owner, owner.tagName);
    }
  }
  return [...found].map(([owner, tag]) => `${tag}: ${(owner.alt || owner.textContent).slice(0, 60)}`);
}
