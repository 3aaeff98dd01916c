/* One model on one accelerator: the roofline with its operations, and what everything is made of. */

const state = {columns: null, size: 0, order: [], sort: "seconds", down: false};
const TIP = "<div style='max-width:340px;white-space:normal'>@tip</div>";
const text = (name, i) => { const c = state.columns[name]; return c.texts ? c.texts[c.codes[i]] : c[i]; };

async function start() {
  const begun = performance.now();
  await loadLibrary();
  state.columns = await loadColumns();
  state.size = told.operations;
  makeBars();
  if (told.intervals.length) makeIntervals();
  if (state.size) {
    makeRoofline();
    makeTable();
  }
  await showAll();
  ready(performance.now() - begun);
}

function makeBars() {
  const place = document.getElementById("bars");
  for (const group of told.groups)
    place.append(stacked(group.title, group.shown, group.parts));
}

function makeIntervals() {
  const place = document.getElementById("intervals"), names = told.intervals.map(x => x.name);
  place.style.height = `${90 + 26 * names.length}px`;
  const data = {y: names, low: [], high: [], at: [], tip: []};
  for (const {low, high, tip} of told.intervals) {
    data.low.push(low); data.high.push(high); data.at.push(1); data.tip.push(tip);
  }
  const made = figure(place, {tools: [new Bokeh.HoverTool({tooltips: TIP}), new Bokeh.SaveTool()], x_axis_type: "log",
    x_axis_label: "over the value", y_range: new Bokeh.FactorRange({factors: [...names].reverse()}),
    x_range: [Math.min(...data.low) / 1.2, Math.max(...data.high) * 1.2]});
  const source = new Bokeh.ColumnDataSource({data});
  made.segment({field: "low"}, {field: "y"}, {field: "high"}, {field: "y"}, {source, line_color: "#4477aa", line_width: 3});
  for (const end of ["low", "high"])
    made.scatter({field: end}, {field: "y"}, {source, marker: "dash", angle: Math.PI / 2, size: 12, line_color: "#4477aa", line_width: 3});
  made.scatter({field: "at"}, {field: "y"}, {source, size: 7, fill_color: "#1c2430", line_color: "#fff"});
  hang(made, place);
}

function makeRoofline() {
  const place = document.getElementById("roofline"), roof = told.roof;
  const columns = state.columns, points = {x: [], y: [], size: [], colour: [], tip: [], index: []};
  const longest = Math.max(...columns.seconds);
  for (let i = 0; i < state.size; i++) {
    if (!(columns.ops[i] > 0)) continue;
    const intensity = columns.bytes[i] > 0 ? columns.ops[i] / columns.bytes[i] : roof.right;
    points.x.push(intensity);
    points.y.push(columns.ops[i] / columns.seconds[i]);
    points.size.push(6 + 26 * Math.sqrt(columns.seconds[i] / longest));
    points.colour.push(colourOf(text("kind", i)));
    points.index.push(i);
    points.tip.push(`${text("name", i)} (${text("layer", i)}, ${text("phase", i)}): ${text("time", i)}, `
      + `${text("rate", i)}, ${text("intensity", i)}, waits for ${text("bound", i)}`);
  }
  const hover = new Bokeh.HoverTool({tooltips: TIP});
  const made = figure(place, {tools: [hover, new Bokeh.BoxZoomTool(), new Bokeh.ResetTool(), new Bokeh.SaveTool()],
    x_axis_type: "log", y_axis_type: "log", x_axis_label: "operations per byte of main memory",
    y_axis_label: "operations a second", x_range: [roof.left, roof.right * 1.4], y_range: [roof.low, roof.peak * 2]});
  for (const axis of [...made.xaxes, ...made.yaxes]) axis.formatter = POWERS();
  const knee = roof.peak / roof.bandwidth;
  made.line([roof.left, knee, roof.right * 1.4], [roof.left * roof.bandwidth, roof.peak, roof.peak],
    {line_color: "#1c2430", line_width: 2});
  const source = new Bokeh.ColumnDataSource({data: points});
  made.scatter({field: "x"}, {field: "y"}, {source, size: {field: "size"}, fill_color: {field: "colour"}, fill_alpha: 0.7, line_color: "#fff"});
  hang(made, place);
}

const POWERS = () => new Bokeh.CustomJSTickFormatter({code: `
  const names = [[1e15, " P"], [1e12, " T"], [1e9, " G"], [1e6, " M"], [1e3, " k"], [1, ""]];
  const found = names.find(n => Math.abs(tick) >= n[0]);
  return found ? Number((tick / found[0]).toPrecision(3)) + found[1] : String(Number(tick.toPrecision(2)));`});

const SHOWN = [["name", "operation"], ["layer", "layer"], ["phase", "phase"], ["kind", "kind"], ["count", "count"],
  ["time", "time", "seconds"], ["energy", "energy", "joules"], ["rate", "operations/s", "speed"], ["intensity", "per byte", "dense"], ["bound", "waits for"]];

function makeTable() {
  const columns = state.columns;
  columns.speed = columns.ops.map((v, i) => columns.seconds[i] > 0 ? v / columns.seconds[i] : 0);
  columns.dense = columns.ops.map((v, i) => columns.bytes[i] > 0 ? v / columns.bytes[i] : Infinity);
  const row = element("tr");
  for (const [name, title, by] of SHOWN) {
    const button = element("button", {type: "button", textContent: title});
    button.addEventListener("click", () => {
      const key = by ?? name;
      state.down = state.sort === key ? !state.down : !by;
      state.sort = key;
      fillTable();
    });
    const cell = element("th", {scope: "col", className: by ? "" : "text"}, button);
    cell.dataset.name = by ?? name;
    row.append(cell);
  }
  document.querySelector("#rows thead").append(row);
  document.getElementById("csv").addEventListener("click", () => download(`${told.name}.csv`, asCsv(), "text/csv"));
  fillTable();
}

function fillTable() {
  const column = state.columns[state.sort], value = i => column.texts ? text(state.sort, i) : column[i];
  state.order = Array.from({length: state.size}, (_, i) => i).sort((a, b) =>
    (state.down ? 1 : -1) * (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0));
  for (const cell of document.querySelectorAll("#rows th"))
    cell.setAttribute("aria-sort", cell.dataset.name !== state.sort ? "none" : state.down ? "ascending" : "descending");
  document.querySelector("#rows tbody").replaceChildren(...state.order.map(i => element("tr", {tabIndex: 0},
    ...SHOWN.map(([name, , by]) => element("td", {textContent: text(name, i).toLocaleString("en"), className: by || name === "count" ? "" : "text"})))));
}

function asCsv() {
  const names = ["name", "layer", "phase", "kind", "count", "seconds", "joules", "ops", "bytes", "bound"];
  const cell = v => /[",\n]/.test(String(v)) ? `"${String(v).replaceAll('"', '""')}"` : String(v);
  return [names.join(","), ...state.order.map(i => names.map(n => cell(text(n, i))).join(","))].join("\n") + "\n";
}

start().catch(error => {
  document.getElementById("bars").textContent = `This page could not be drawn: ${error.message}`;
  throw error;
});
