// Why a row was chosen: its numbers, its texts, and what the crowd answered and scored.
"use strict";

function turnsOf(row) {
  const box = make("div", { class: "turns" });
  row.turns.forEach(([role, text, length], i) => {
    const last = i === row.turns.length - 1 && role === "assistant";
    const name = last ? `kept answer, of ${row.model}` : role === "user" ? "instruction" : role;
    box.append(make("h4", {}, name), clippedText(text, length));
  });
  return box;
}

function clippedText(text, length) {
  if (text === null) return make("p", { class: "hint" }, "no complete answer");
  const box = dataText(text, "div");
  box.classList.add("text");
  const whole = Array.from(text).length;
  if (length <= whole) return box;
  const hint = make("p", { class: "hint" }, `the first ${counted(whole)} of ${counted(length)} characters`);
  return make("div", {}, box, hint);
}

function metricsOf(row, names) {
  const body = make("tbody");
  names.forEach((name, m) => {
    const q = row.q[m];
    const bar = make("meter", { min: 0, max: 1, value: q ?? 0, "aria-label": `${name}, share of rows below` });
    body.append(make("tr", {}, make("th", { scope: "row" }, name),
      make("td", { class: "n" }, fixed(row.metrics[m])), make("td", {}, bar),
      make("td", { class: "n" }, `higher than ${share(q)}`)));
  });
  return make("table", { class: "small" }, make("caption", {}, "Metrics"), body);
}

function crowdOf(index, all, others) {
  const scores = all.scores[index];
  if (!scores) return null;
  const order = all.models.map((_, m) => m);
  const first = (m) => scores[0][m] ?? -Infinity;
  order.sort((a, b) => first(b) - first(a) || a - b);
  const body = make("tbody");
  for (const m of order) {
    const kept = all.models[m] === all.rows[index].model;  // no model where there are no answers
    const cells = scores.map((of) => make("td", { class: "n" }, fixed(of[m])));
    const answer = others && others[index] ? clippedText(...others[index][m]) : null;
    const told = answer && make("details", {}, make("summary", {}, "answer"), answer);
    body.append(make("tr", { class: kept ? "kept" : null },
      make("th", { scope: "row" }, dataText(all.models[m]), kept ? " (kept)" : ""),
      ...cells, others ? make("td", {}, told) : null));
  }
  const head = make("tr", {}, make("th", { scope: "col" }, "model"),
    ...all.rewards.map((r) => make("th", { scope: "col", class: "n" }, dataText(r))),
    others ? make("th", { scope: "col" }, "answer") : null);
  return make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "The crowd's answers" },
    make("table", { class: "small" }, make("caption", {}, "The crowd, best score first"),
      make("thead", {}, head), body));
}

function detailsOf(index, all, others) {
  const row = all.rows[index];
  return make("div", { class: "why" },
    make("p", {}, make("strong", {}, "Why: "), dataText(row.why)),
    make("p", { class: "hint" }, "id ", dataText(row.id, "code")),
    make("div", { class: "columns" }, turnsOf(row),
      make("div", {}, metricsOf(row, all.names), crowdOf(index, all, others))));
}
