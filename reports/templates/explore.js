// Interactive plots: the costs and measures of one model, drawn when they come into sight.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("explore-data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const plain = (text) => text.replace(/[&<>]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c]);
  const element = (tag, parent, text) => {
    const made = parent.appendChild(document.createElement(tag));
    made.textContent = text || "";
    return made;
  };

  function shade(colour, ink) {  // dark colours are mixed with white where the page is dark
    if (colour === "#000000" || !dark.matches) return colour === "#000000" ? ink : colour;
    const parts = [1, 3, 5].map((n) => parseInt(colour.slice(n, n + 2), 16));
    const light = 0.3 * parts[0] + 0.6 * parts[1] + 0.1 * parts[2];
    return light > 110 ? colour : "rgb(" + parts.map((part) => Math.round(part + 0.5 * (255 - part))).join(",") + ")";
  }
  function front(lines, cost) {
    const points = lines.flatMap((line) => line[cost].map((x, n) => [x, line.value[n], line.low[n], line.high[n]]))
      .filter(([x, y]) => x && y > 0);
    points.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    let best = Infinity;
    return points.filter(([, y]) => y < best && (best = y, true));
  }
  function traces(panel, cost, ink) {
    const found = panel.lines.map((line) => ({
      name: plain(line.label), x: line[cost], y: line.value.map((y) => y > 0 ? y : null), text: line.text.map(plain),
      hovertemplate: "%{text}<extra></extra>", mode: "lines+markers", connectgaps: true,
      line: { color: shade(line.colour, ink), width: 1.6, dash: line.dash },
      marker: { symbol: line.symbol, size: 7 },
    }));
    const best = front(panel.lines, cost), faint = { mode: "lines", hoverinfo: "skip", legendgroup: "front" };
    const edge = (n, more) => ({ ...faint, showlegend: false, x: best.map((p) => p[0]), y: best.map((p) => p[n] > 0 ? p[n] : p[1]),
      line: { shape: "hv", width: 0 }, ...more });
    found.push(edge(2, {}), edge(3, { fill: "tonexty", fillcolor: "rgba(128,128,128,0.25)" }));
    found.push({ ...faint, name: "Pareto front<br>and its intervals", x: best.map((p) => p[0]), y: best.map((p) => p[1]), 
      line: { shape: "hv", color: ink, width: 5 }, opacity: 0.25 });
    const top = Math.max(...shown(panel, "value"));
    if (cost === "nfe") for (const failed of panel.failed) found.push({
      name: plain(failed.label) + " failed", x: failed.nfe, y: failed.nfe.map(() => top * 1.3), mode: "markers",
      marker: { symbol: "x-thin", size: 10, color: ink, line: { width: 2, color: ink } }, hovertemplate: "%{x} calls: failed",
    });
    return found;
  }
  function ticks(values) {  // 1-2-5 where they span little, else powers of ten
    const known = values.filter((v) => v > 0), low = Math.min(...known), high = Math.max(...known), found = [];
    const steps = high / low < 2000 ? [1, 2, 5] : [1];
    for (let k = Math.floor(Math.log10(low)) - 1; k <= Math.log10(high) + 1; k++) for (const step of steps) found.push(Number(step + "e" + k));
    return { tickvals: found, ticktext: found.map((v) => v >= 1e-4 && v < 1e5 ? String(v) : v.toExponential()) };
  }
  function shown(panel, key) {  // the numbers of an axis, values no higher than where theirs ends
    const found = panel.lines.flatMap((line) => line[key]).filter((v) => v > 0);
    return key === "value" ? found.map((v) => Math.min(v, panel.ceiling || Infinity)) : found;
  }
  function limits(panel) {  // of the axis of values, where some lie above its end
    const known = shown(panel, "value"), high = Math.log10(panel.ceiling), low = Math.min(Math.log10(Math.min(...known)), high - 1);
    return known.includes(panel.ceiling) ? { range: [low - 0.05 * (high - low), high + 0.2] } : {};
  }
  function draw(box) {
    const { panels, quality, cost, plot } = box, panel = panels[quality.value];
    const style = getComputedStyle(document.documentElement), ink = style.getPropertyValue("--ink").trim();
    const grid = style.getPropertyValue("--line").trim(), narrow = plot.clientWidth < 600;
    const axis = (title, key, more = []) => ({ type: "log", title: { text: plain(title), font: { size: narrow ? 10 : 13 } }, gridcolor: grid,
      zeroline: false, ...ticks([...shown(panel, key), ...more]) });
    const floor = panel.floor > 0 ? [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: panel.floor, y1: panel.floor,
      line: { color: ink, width: 1.5, dash: "dash" }, label: { text: panel.floor_is, textposition: "end" } }] : [];
    const layout = {
      height: narrow ? 820 : 500, margin: { l: 76, r: 10, t: 40, b: 60 }, paper_bgcolor: "transparent", plot_bgcolor: "transparent",
      font: { color: ink, family: "system-ui, sans-serif", size: 12 }, xaxis: axis(panel.costs[cost.value], cost.value), yaxis: { ...axis(panel.words, "value", [panel.floor]), ...limits(panel) },
      legend: narrow ? { orientation: "h", y: -0.22 } : {}, shapes: floor, hoverlabel: { align: "left" }, uirevision: quality.value,
    };
    plot.style.height = layout.height + "px";
    Plotly.react(plot, traces(panel, cost.value, ink), layout, { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d"] });
  }
  function build(section) {
    const panels = data[section.dataset.model], controls = element("div", section);
    controls.className = "controls";
    const pick = (text) => element("select", element("label", controls, text + " "));
    const quality = pick("Quality"), cost = pick("Cost");
    panels.forEach((panel, n) => { element("option", quality, panel.title).value = n; });
    const plot = element("div", section), box = { panels, quality, cost, plot };
    plot.className = "plot";
    const refill = () => {
      const before = cost.value, costs = panels[quality.value].costs;
      cost.replaceChildren();
      for (const key in costs) element("option", cost, costs[key]).value = key;
      if (before in costs) cost.value = before;
      draw(box);
    };
    quality.addEventListener("change", refill);
    cost.addEventListener("change", () => draw(box));
    dark.addEventListener("change", () => draw(box));
    refill();
  }
  const seen = new IntersectionObserver((entries) => entries.forEach((entry) => {
    if (entry.isIntersecting) { seen.unobserve(entry.target); build(entry.target); }
  }), { rootMargin: "400px" });
  for (const section of document.querySelectorAll(".explore")) { section.hidden = false; seen.observe(section); }
  document.documentElement.classList.add("explored");
})();
