"use strict";
(() => {
  const key = "private-image-sharing theme", themes = ["", "light", "dark"];
  let theme = "";
  try { theme = localStorage.getItem(key) || ""; } catch { /* a browser may refuse storage to files */ }
  const show = () => {
    document.documentElement.style.colorScheme = theme;
    for (const button of document.querySelectorAll(".theme")) {
      button.hidden = false;
      button.textContent = { "": "◐ as the system", light: "○ light", dark: "● dark" }[theme];
    }
  };
  show();
  document.addEventListener("DOMContentLoaded", show);
  document.addEventListener("click", event => {
    if (!event.target.closest?.(".theme")) return;
    theme = themes[(themes.indexOf(theme) + 1) % themes.length];
    try { localStorage.setItem(key, theme); } catch { /* then it holds for this page alone */ }
    show();
  });
})();
