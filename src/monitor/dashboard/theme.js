// Sets the theme before anything is drawn, so that a dark page never flashes white: `data-theme` on the
// root, or nothing for the preference of the system. A classic script, since modules run after drawing.
"use strict";

try {
  const theme = localStorage.getItem("theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage is switched off: the preference of the system holds.
}
