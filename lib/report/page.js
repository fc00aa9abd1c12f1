"use strict";
(() => {
  const form = document.querySelector(".filters"), said = form.querySelector("output");
  const all = (within, what) => [...within.querySelectorAll(what)];
  const show = (element, yes) => element.toggleAttribute("data-hidden", !yes);
  const filter = () => {
    const { paper, stage } = Object.fromEntries(new FormData(form));
    for (const row of all(document, "[data-stage]")) show(row, !stage || row.dataset.stage === stage);
    for (const block of all(document, ".block")) show(block, block.querySelector("[data-stage]:not([data-hidden])") || !stage);
    for (const section of all(document, "section.paper")) show(section, (!paper || section.dataset.paper === paper) && (!stage || section.querySelector("[data-stage]:not([data-hidden])")));
    const cards = all(document, ".card"), seen = cards.filter(card => card.getClientRects().length);
    said.value = seen.length === cards.length ? "" : `${seen.length} of ${cards.length} figures and tables`;
  };
  form.hidden = false;
  form.addEventListener("change", filter);
  form.addEventListener("submit", event => event.preventDefault());
  for (const link of all(document, "header a[href^='#']")) link.addEventListener("click", () => { form.reset(); filter(); });
  filter();

  const zooms = all(document, "a.zoom"), box = document.querySelector("dialog"), caption = box.querySelector("span");
  const file = box.querySelector("a"), picture = new Image();
  let at = 0;
  box.querySelector("figure").prepend(picture);
  const turn = to => {
    const seen = zooms.filter(zoom => zoom.getClientRects().length);
    at = (seen.indexOf(zooms[at]) + to + seen.length) % seen.length;
    const zoom = seen[at];
    at = zooms.indexOf(zoom);
    picture.src = file.href = zoom.href;
    caption.textContent = picture.alt = zoom.querySelector("img").alt;
  };
  for (const [place, zoom] of zooms.entries()) zoom.addEventListener("click", event => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    at = place;
    turn(0);
    box.showModal();
  });
  box.addEventListener("click", event => { if (event.target === box) box.close(); });
  box.addEventListener("keydown", event => { if (event.key === "ArrowRight") turn(1); else if (event.key === "ArrowLeft") turn(-1); });
  box.addEventListener("close", () => zooms[at]?.focus());
  for (const button of all(box, "button[data-turn]")) button.addEventListener("click", () => turn(+button.dataset.turn));
})();
