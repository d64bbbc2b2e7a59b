// The map, drawn by Bokeh in WebGL; our own script sets its colours.
"use strict";

const STATES = ["refused", "eligible", "chosen"];
const UNDEFINED = 65535;

async function mapPoints() {
  const columns = await unpackColumns("map-points");
  return columns && { columns, texts: await unpackJson("map-texts") };
}

// Puts Bokeh into the page: its script is one of those that the page's policy allows.
async function loadBokeh() {
  const text = await unpackText("bokeh");
  if (!text) throw new Error("Bokeh is not in the page");
  document.head.append(make("script", {}, text));
  if (!globalThis.Bokeh) throw new Error("Bokeh did not start");
  return globalThis.Bokeh;
}

function palette(kind, n) { return Array.from({ length: n }, (_, i) => colour(`--${kind}-${i}`)); }

class PointMap {
  constructor(bokeh, { columns, texts }) {
    Object.assign(this, { bokeh, columns, texts });
    this.n = columns.row.length;
    this.state = Uint8Array.from(columns.state);
    const order = Array.from(this.state, (_, i) => i).sort((a, b) => this.state[a] - this.state[b] || a - b);
    this.order = order;  // chosen points are drawn last
    this.source = new bokeh.ColumnDataSource({ data: {
      x: order.map((i) => columns.x[i]), y: order.map((i) => columns.y[i]),
      text: order.map((i) => texts.texts[i] || texts.ids[i]),
      cluster: order.map((i) => String(columns.cluster[i])),
      state: order.map((i) => STATES[this.state[i]]),
      colour: order.map(() => "#888888"), size: order.map(() => 4),
    } });
    this.draw();
    byId("map-controls").hidden = false;
    byId("map-controls").addEventListener("submit", (event) => event.preventDefault());
    byId("map-colour").addEventListener("change", () => this.paint());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.paint());
    document.addEventListener("reselected", (event) => this.follow(event.detail));
    this.paint();
  }

  draw() {
    const { Plotting, HoverTool } = this.bokeh;
    const plot = this.plot = Plotting.figure({
      height: 520, sizing_mode: "stretch_width", output_backend: "webgl",
      tools: "pan,box_zoom,wheel_zoom,reset,save", toolbar_location: "above",
    });
    plot.scatter({ field: "x" }, { field: "y" }, {
      source: this.source, size: { field: "size" }, fill_color: { field: "colour" },
      line_color: null, fill_alpha: 0.75,
    });
    const tips = [["text", "@text"], ["", "@state"]];
    if (this.texts.clusters) tips.push(["cluster", "@cluster"]);
    plot.add_tools(new HoverTool({ tooltips: tips }));
    for (const hidden of [...plot.xaxes, ...plot.yaxes, ...plot.center]) hidden.visible = false;
    plot.toolbar.logo = null;
    Plotting.show(plot, byId("map-plot"));
  }

  paint() {
    const how = byId("map-colour").value, { columns, order } = this;
    const states = STATES.map((s) => colour(`--map-${s}`));
    let of;
    if (how === "choice") of = (i) => states[this.state[i]];
    else if (how === "cluster") {
      const colours = palette("cluster", 10);
      of = (i) => colours[columns.cluster[i] % 10];
    } else {
      const colours = palette("ramp", 9), q = columns[how];
      of = (i) => (q[i] === UNDEFINED ? states[0] : colours[Math.min(8, Math.floor((q[i] / 65534) * 9))]);
    }
    const data = { ...this.source.data };
    data.colour = order.map(of);
    data.size = order.map((i) => (this.state[i] === 2 ? 8 : 5));
    data.state = order.map((i) => STATES[this.state[i]]);
    this.source.data = data;
    const surface = colour("--surface");
    this.plot.background_fill_color = this.plot.border_fill_color = surface;
    this.plot.outline_line_color = colour("--line");
    this.legend(how, states);
  }

  legend(how, states) {
    const entries = how === "choice" ? STATES.map((s, i) => [states[i], s])
      : how === "cluster" ? [] : [[colour("--ramp-0"), "low"], [colour("--ramp-4"), "middle"], [colour("--ramp-8"), "high"]];
    byId("map-legend").replaceChildren(...entries.flatMap(([c, name]) => {
      const dot = make("span", { class: "swatch" });
      dot.style.background = c;
      return [dot, `${name} `];
    }));
  }

  follow({ rows, data }) {  // the sliders chose other rows
    const now = new Set(rows);
    this.columns.row.forEach((row, i) => {
      this.state[i] = now.has(row) ? 2 : this.columns.state[i] === 0 && !data.fit[row] ? 0 : 1;
    });
    this.paint();
  }
}
