// The first screen: looks up what `scorebench choose` answers. Every text from the store is set as text, never as markup.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("chooser-data").textContent);
  if (!data.models.length) return;
  const at = (id) => document.getElementById("choose-" + id);
  const words = { nfe: "network calls", ms: "milliseconds", quality: "quality to reach" };
  let shown = 0, form = "python", found = null;

  const make = (tag, text, parent, name) => {
    const element = document.createElement(tag);
    element.textContent = text;
    if (name) element.className = name;
    return parent.appendChild(element);
  };
  const fill = (select, pairs) => {
    const before = select.value;
    select.replaceChildren();
    for (const [value, text] of pairs) make("option", text, select).value = value;
    if (pairs.some(([value]) => value === before)) select.value = before;
  };
  const model = () => data.models[Number(at("model").value)];
  const measure = () => model().measures.find((m) => m.by === at("by").value);
  const stops = () => measure().limits[at("limit").value];
  const pasted = (entrant) => form === "diffusers"
    ? entrant.diffusers || "# no scheduler of diffusers is known to be this configuration: take Python or TOML"
    : data.templates[form].replace(/\{\{|\}\}|\{(\w+)\}/g, (all, key) => key ? entrant.parts[key] : all[0]);

  function remodel() {
    fill(at("by"), model().measures.map((m) => [m.by, m.heading]));
    remeasure();
  }
  function remeasure() {
    fill(at("limit"), Object.keys(measure().limits).map((limit) => [limit, words[limit]]));
    relimit();
  }
  function relimit() {
    const limit = at("limit").value, slider = at("slider"), amounts = stops().map((stop) => stop.amount);
    slider.max = amounts.length - 1;
    const first = limit === "nfe" ? amounts.findIndex((amount) => amount >= 10) : Math.floor(amounts.length / 2);
    slider.value = first < 0 ? amounts.length - 1 : first;
    answer();
  }
  function answer() {
    found = stops()[Number(at("slider").value)];
    shown = 0;
    at("slider").setAttribute("aria-valuetext", found.text);
    at("amount").textContent = found.text;
    const entrants = measure().entrants, best = entrants[found.places[0][0]];
    at("best").textContent = best.label;
    at("cost").textContent = best.row[1] + " calls" + (best.row[2] === "–" ? "" : ", " + best.row[2] + " ms");
    at("value").textContent = measure().heading + " " + best.row[0];
    at("ties").textContent = found.ties.length ? "Tied with it: " + found.ties.join(", ") : "Nothing ties with it.";
    at("why").textContent = found.why.join(" ");
    at("field").textContent = "Measured with " + measure().field + (found.more ? "; " + found.more + " more entrants" : "");
    const rows = at("rows");
    rows.replaceChildren();
    found.places.forEach(([place, standing], n) => {
      const entrant = entrants[place], row = make("tr", "", rows);
      make("td", n + 1 + " " + standing, row);
      const button = make("button", entrant.label, make("td", "", row));
      button.type = "button";
      button.addEventListener("click", () => { shown = n; paste(); });
      for (const text of entrant.row) make("td", text, row);
    });
    paste();
  }
  function paste() {
    const entrant = measure().entrants[found.places[shown][0]];
    [...at("rows").children].forEach((row, n) => row.toggleAttribute("data-shown", n === shown));
    at("whose").textContent = entrant.label;
    at("text").textContent = pasted(entrant);
    for (const button of at("forms").children) button.setAttribute("aria-pressed", String(button.value === form));
    at("copied").textContent = "";
  }
  async function copy() {
    const text = at("text"), range = document.createRange();
    range.selectNodeContents(text);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    let done = false;
    try { await navigator.clipboard.writeText(text.textContent); done = true; } catch { done = document.execCommand("copy"); }
    at("copied").textContent = done ? "copied" : "selected: press Ctrl+C";
  }

  fill(at("model"), data.models.map((m, n) => [String(n), m.name]));
  at("model").addEventListener("change", remodel);
  at("by").addEventListener("change", remeasure);
  at("limit").addEventListener("change", relimit);
  at("slider").addEventListener("input", answer);
  at("forms").addEventListener("click", (event) => { if (event.target.value) { form = event.target.value; paste(); } });
  at("copy").addEventListener("click", copy);
  document.getElementById("choose").hidden = false;
  remodel();
})();
