// Sliders: select again with other settings, and say what changes.
"use strict";

const LISTED = 100;  // rows that come in, and that go out

async function reselectionData() {
  const columns = await unpackColumns("reselection-columns");
  const settings = await unpackJson("reselection-settings");
  if (!columns || !settings) return null;
  const data = { fit: columns.fit, cluster: columns.cluster, chosen: columns.chosen };
  if (settings.weights) {
    data.keys = settings.metrics.map((name) => columns[`key_${name}`]);
    data.distinct = data.keys.map((key) => key.reduce((most, k) => (k !== NONE && k >= most ? k + 1 : most), 0));
  } else {
    data.order = columns.order;
  }
  return { data, settings };
}

class Sliders {
  constructor({ data, settings }, ids, texts) {
    Object.assign(this, { data, settings, ids, texts });
    this.form = byId("reselection-form");
    this.form.hidden = byId("reselection-result").hidden = false;
    this.start();
    const again = soon(() => this.update());
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("input", (event) => { this.follow(event.target); again(); });
    byId("reselection-reset").addEventListener("click", () => { this.start(); this.update(); });
    this.update();
  }

  start() {
    const { weights, budget, quota } = this.settings;
    (weights || []).forEach((w, m) => {
      const range = this.form.querySelector(`[data-weight="${m}"]`);
      range.min = Math.min(-2, Math.floor(w));
      range.max = Math.max(4, Math.ceil(w));
      range.value = w;
      this.form.querySelector(`[data-number="${m}"]`).value = w;
    });
    byId("reselection-budget").value = budget;
    byId("budget-range").value = this.rowsWanted(budget);
    byId("reselection-quota").value = quota;
  }

  rowsWanted(text) { return rowsOfBudget(String(text), this.settings.most) ?? 1; }

  follow(input) {  // a slider and its number say the same
    if (input.dataset.weight) {
      this.form.querySelector(`[data-number="${input.dataset.weight}"]`).value = input.value;
    } else if (input.dataset.number) {
      this.form.querySelector(`[data-weight="${input.dataset.number}"]`).value = input.value;
    } else if (input.id === "budget-range") {
      byId("reselection-budget").value = input.value;
    } else if (input.id === "reselection-budget") {
      byId("budget-range").value = this.rowsWanted(input.value.trim());
    }
  }

  wanted() {
    const { metrics, weights } = this.settings;
    const numbers = (weights || []).map((_, m) => Number(this.form.querySelector(`[data-number="${m}"]`).value));
    return {
      metrics, weights: numbers, budget: byId("reselection-budget").value.trim(),
      quota: byId("reselection-quota").value,
    };
  }

  update() {
    const wanted = this.wanted(), { sign } = this.settings;
    const found = wanted.weights.every(Number.isFinite)
      ? reselected(this.data, { ...wanted, weights: wanted.weights.map((w) => sign * w) })
      : { error: "a weight is no number" };
    const status = byId("reselection-status");
    status.classList.toggle("wrong", Boolean(found.error));
    if (found.error) {  // what stands there is of other settings
      status.textContent = found.error;
      for (const id of ["in", "out", "command", "yaml"]) byId(`reselection-${id}`).replaceChildren();
      return;
    }
    const now = new Set(found.rows);
    const comes = found.rows.map((row, i) => ({ row, i })).filter(({ row }) => !this.data.chosen[row]);
    const goes = [];
    this.data.chosen.forEach((c, row) => { if (c && !now.has(row)) goes.push({ row }); });
    status.textContent = this.sentence(found, comes.length, goes.length);
    this.list(byId("reselection-in"), comes, found);
    this.list(byId("reselection-out"), goes, found);
    this.tell(wanted);
    document.dispatchEvent(new CustomEvent("reselected", { detail: { rows: found.rows, data: this.data } }));
  }

  sentence(found, comes, goes) {
    const { rows, eligible, wanted } = found;
    const short = wanted > eligible
      ? ` Fewer rows are eligible than the budget asks for: a run ends with an error, or takes these with --allow-short.`
      : rows.length < wanted ? " Some clusters are too small for this quota." : "";
    const same = !comes && !goes ? "the same rows as the run's" : `${counted(comes)} come in, ${counted(goes)} go out`;
    return `${counted(rows.length)} of ${counted(eligible)} eligible rows: ${same}.${short}`;
  }

  list(element, changes, found) {
    const places = new Map();
    found.ranked.rows.forEach((row, place) => places.set(row, place));
    const items = changes.slice(0, LISTED).map(({ row, i }) => {
      const place = places.get(row);
      const q = place === undefined ? [] : found.ranked.quantiles.map((of) => of[place]);
      const numbers = this.settings.metrics.map((name, m) => `${name} ${share(q[m])}`).join(", ");
      const rank = i === undefined ? (place === undefined ? "not eligible" : "") : `rank ${i + 1}`;
      const words = [rank, place === undefined ? "" : numbers].filter(Boolean).join("; ");
      return make("li", {}, this.name(row), words ? make("span", { class: "hint" }, ` ${words}`) : null);
    });
    if (!items.length) items.push(make("li", { class: "none" }, "none"));
    if (changes.length > LISTED) items.push(make("li", { class: "none" }, `and ${counted(changes.length - LISTED)} more`));
    element.replaceChildren(...items);
  }

  name(row) {
    const text = this.texts.get(row);
    const id = this.ids ? this.ids[row] : `row ${counted(row + 1)} in id order`;
    return text ? make("span", {}, dataText(text), " ", dataText(id, "code")) : dataText(id, "code");
  }

  tell({ weights, budget, quota }) {
    const { settings } = this;
    const flags = settings.renamed ? ["--method crowdselect"] : [];
    const four = settings.weights ? [...weights] : null;
    if (four) flags.push(`--weights=${four.join(",")}`);
    flags.push(`--budget ${budget}`, `--quota ${quota}`);
    byId("reselection-command").textContent = `python -m flows.select --config CONFIG.yaml ${flags.join(" ")}`;
    const lines = four ? [...(settings.renamed ? ["method: crowdselect"] : []), `weights: [${four.join(", ")}]`] : [];
    lines.push(`budget: ${budget}`, `quota: ${quota}`);
    byId("reselection-yaml").textContent = `${settings.yaml}${lines.join("\n")}\n`;
  }
}

async function setUpSliders(chosen, points) {
  const found = await reselectionData();
  if (!found) return null;
  const texts = new Map();
  points?.columns.row.forEach((row, i) => { if (points.texts.texts[i]) texts.set(row, points.texts.texts[i]); });
  chosen?.rows.forEach((row) => { if (row.start) texts.set(row.row, row.start); });
  return new Sliders(found, await unpackJson("reselection-ids"), texts);
}
