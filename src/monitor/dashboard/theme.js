// The theme before anything is drawn, so that a dark page never flashes white: `data-theme` on the root,
// or nothing for what the system prefers. Classic script, because modules run after the first drawing.
"use strict";

try {
  const theme = localStorage.getItem("theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage is switched off: the system's preference it is.
}
