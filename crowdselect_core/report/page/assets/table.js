// The table of the chosen rows: search, filters, sorting, pages, and a row's why.
"use strict";

class RowTable {
  constructor(all, others) {
    this.all = all;
    this.others = others;
    this.page = 0;
    this.sorted = { key: "rank", down: false };
    this.opened = new Set();
    this.texts = all.rows.map((row) =>
      [row.id, row.model, row.start, ...row.turns.map((t) => t[1] ?? "")].join("\n").toLowerCase());
    this.table = byId("rows-table");
    this.keys = [...this.table.tHead.rows[0].cells].map((cell) => cell.dataset.key);
    this.setUpControls();
    this.setUpHeads();
    this.draw();
  }

  setUpControls() {
    const { rows } = this.all;
    const again = () => { this.page = 0; this.draw(); };
    const clusters = byId("rows-cluster");
    if (clusters) options(clusters, [...new Set(rows.map((r) => r.cluster))].sort((a, b) => a - b));
    const models = byId("rows-model");  // none where the data set has no answers
    if (models) options(models, [...new Set(rows.map((r) => r.model))].sort());
    for (const id of ["rows-cluster", "rows-model", "rows-size"]) byId(id)?.addEventListener("change", again);
    byId("rows-search").addEventListener("input", soon(again));
    byId("rows-controls").addEventListener("submit", (event) => event.preventDefault());
    byId("rows-previous").addEventListener("click", () => { this.page--; this.draw(); });
    byId("rows-next").addEventListener("click", () => { this.page++; this.draw(); });
    byId("rows-controls").hidden = byId("rows-pager").hidden = false;
  }

  setUpHeads() {
    const row = this.table.tHead.rows[0];
    for (const cell of row.cells) {
      const key = cell.dataset.key;
      const button = make("button", { type: "button", class: "sort" }, cell.textContent);
      button.addEventListener("click", () => {
        const down = this.sorted.key === key ? !this.sorted.down : key[0] === "q" || key === "score";
        this.sorted = { key, down };
        this.page = 0;
        this.draw();
      });
      cell.replaceChildren(button);
    }
    row.prepend(make("td", {}, make("span", { class: "hidden" }, "why")));
  }

  value(row) {
    const { key } = this.sorted;
    return key[0] === "q" && key.length > 1 ? row.q[Number(key.slice(1))] : row[key];
  }

  found() {
    const words = byId("rows-search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const cluster = byId("rows-cluster")?.value ?? "", model = byId("rows-model")?.value ?? "";
    const { rows } = this.all;
    const places = rows.map((_, i) => i).filter((i) =>
      (cluster === "" || String(rows[i].cluster) === cluster)
      && (model === "" || rows[i].model === model)
      && words.every((word) => this.texts[i].includes(word)));
    const sign = this.sorted.down ? -1 : 1;
    const order = (a, b) => (a === null) - (b === null) || (a < b ? -sign : a > b ? sign : 0);
    return places.sort((a, b) => order(this.value(rows[a]), this.value(rows[b])) || a - b);
  }

  draw() {
    const places = this.found(), size = Number(byId("rows-size").value);
    const pages = Math.max(1, Math.ceil(places.length / size));
    this.page = Math.min(Math.max(this.page, 0), pages - 1);
    const start = this.page * size;
    const body = make("tbody");
    for (const i of places.slice(start, start + size)) this.addRow(body, i);
    if (!places.length) {
      body.append(make("tr", {}, make("td", { colspan: this.keys.length + 1 }, "no row has all of that")));
    }
    this.table.tBodies[0].replaceWith(body);
    for (const cell of this.table.tHead.rows[0].cells) {
      const mine = cell.dataset.key === this.sorted.key;
      if (mine) cell.setAttribute("aria-sort", this.sorted.down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    }
    byId("rows-previous").disabled = this.page === 0;
    byId("rows-next").disabled = this.page === pages - 1;
    const last = Math.min(start + size, places.length);
    byId("rows-status").textContent = places.length
      ? `${counted(start + 1)} to ${counted(last)} of ${counted(places.length)} rows` : "no rows";
  }

  addRow(body, i) {
    const row = this.all.rows[i], open = this.opened.has(i);
    const button = make("button", {
      type: "button", class: "open", "aria-expanded": String(open),
      "aria-label": `Why rank ${row.rank} was chosen`,
    }, "▸");
    const cells = this.keys.map((key) => this.cell(key, row));
    const line = make("tr", {}, make("td", {}, button), ...cells);
    body.append(line);
    const toggle = () => {
      if (this.opened.delete(i)) line.nextSibling.remove();
      else { this.opened.add(i); line.after(this.details(i)); }
      button.setAttribute("aria-expanded", String(this.opened.has(i)));
    };
    button.addEventListener("click", toggle);
    if (open) body.append(this.details(i));
  }

  details(i) {
    const box = detailsOf(i, this.all, this.others);
    return make("tr", { class: "opened" }, make("td", { colspan: this.keys.length + 1 }, box));
  }

  cell(key, row) {
    if (key === "start") return make("td", { class: "start" }, dataText(row.start || row.id));
    if (key === "model") return make("td", {}, dataText(row.model));
    if (key === "score") return make("td", { class: "n" }, fixed(row.score));
    if (key[0] === "q") return make("td", { class: "n" }, share(row.q[Number(key.slice(1))]));
    return make("td", { class: "n" }, String(row[key]));
  }
}

async function setUpRows() {
  const all = await unpackJson("rows-chosen");
  if (!all || !byId("rows-table")) return null;
  new RowTable(all, await unpackJson("rows-others"));
  return all;
}
