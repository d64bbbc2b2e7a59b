// What happens when the page is open.
"use strict";

async function setUpBars() {  // the chosen rows' bars follow the sliders
  const bins = await unpackJson("distributions-bins");
  if (!bins) return;
  const heights = {};
  document.addEventListener("reselected", ({ detail: { rows, data } }) => {
    if (!data.keys) return;
    bins.names.forEach((name, m) => {
      const key = data.keys[bins.keys[m]], edges = bins.edges[name];
      const counts = new Uint32Array(edges.length + 1);
      let n = 0;
      for (const row of rows) {
        if (key[row] === NONE) continue;
        let bin = 0;
        while (bin < edges.length && key[row] >= edges[bin]) bin++;
        counts[bin]++;
        n++;
      }
      heights[name] = Array.from(counts, (c) => Math.min(c / Math.max(n, 1) / bins.most[name], 1) * bins.height);
    });
    for (const bar of document.querySelectorAll("rect.chosen[data-metric]")) {
      const height = heights[bar.dataset.metric]?.[Number(bar.dataset.bin)];
      if (height === undefined) continue;
      bar.setAttribute("y", (bins.height - height).toFixed(1));
      bar.setAttribute("height", height.toFixed(1));
    }
  });
}

// One part that fails says so, and the others go on.
async function attempt(what, work) {
  try {
    return await work();
  } catch (error) {
    console.error(error);
    const box = byId("failure");
    box.textContent += `${what} cannot be shown: ${error.message}. `;
    box.hidden = false;
    return null;
  }
}

async function start() {
  await attempt("Sorting", async () => setUpSorting());
  const chosen = await attempt("The table of the chosen rows", setUpRows);
  const points = await attempt("The map", mapPoints);
  await attempt("The figures of the metrics", setUpBars);
  if (points) {
    await attempt("The map", async () => new PointMap(await loadBokeh(), points));
  }
  await attempt("The sliders", () => setUpSliders(chosen, points));
  document.documentElement.dataset.ready = "true";
}

globalThis.CrowdSelect = { reselected, reselectionData };
start();
