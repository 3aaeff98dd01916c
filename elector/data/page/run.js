/* The front of a run: panels of every pair, parallel coordinates, a table, one design at a time.
   A brush in any view, and the filters, make one mask that all views obey. */

const state = {columns: null, size: 0, mask: null, brushed: null, chosen: -1, order: [], sort: null,
  down: true, page: 0, source: null, lines: null, guard: false};
const ROWS = 25, LINES = 1500, BARS = 250;
/* Pixels between two axes of the parallel coordinates: least, and from where labels lie flat. */
const RAIL = 36, FLAT = 84, LABEL = "11px";

const text = (name, i) => { const c = state.columns[name]; return c.texts ? c.texts[c.codes[i]] : c[i]; };
const raw = (axis, i) => state.columns[axis.raw][i];
const drawn = (axis, i) => raw(axis, i) / axis.size;

async function start() {
  const begun = performance.now();
  await loadLibrary();
  state.columns = await loadColumns();
  state.size = told.points;
  state.mask = new Uint8Array(state.size).fill(1);
  state.order = Array.from({length: state.size}, (_, i) => i);
  makeSource();
  makePanels();
  makeParallel();
  makeConvergence();
  makeFilters();
  makeTable();
  await showAll();
  document.querySelectorAll("[data-design]").forEach(button =>
    button.addEventListener("click", () => choose(Number(button.dataset.design))));
  choose(told.marks.length ? told.marks[0].index : 0);
  ready(performance.now() - begun);
}

/* ---- what is drawn ---- */

function makeSource() {
  const data = {tip: [], colour: []};
  for (const axis of told.axes) data[axis.name] = Float64Array.from({length: state.size}, (_, i) => drawn(axis, i));
  data.tip = Array.from({length: state.size}, (_, i) =>
    `design ${state.columns.id[i]}: ` + told.axes.map(a => `${a.label} ${text(a.shown, i)}`).join(", ")
    + (state.columns.settings ? `; ${text("settings", i)}` : ""));
  data.colour = colours(told.colour);
  state.source = new Bokeh.ColumnDataSource({data});
  state.source.selected.properties.indices.change.connect(() => {
    if (state.guard) return;
    const picked = state.source.selected.indices;
    state.brushed = picked.length ? new Set(picked) : null;
    update();
  });
}

function colours(name) {
  const axis = told.axes.find(a => a.name === name);
  if (axis) {
    const values = Array.from({length: state.size}, (_, i) => axis.log ? Math.log(raw(axis, i)) : raw(axis, i));
    let low = Infinity, high = -Infinity;
    for (const v of values) { low = Math.min(low, v); high = Math.max(high, v); }
    return values.map(v => CIVIDIS[Math.round((CIVIDIS.length - 1) * (high > low ? (v - low) / (high - low) : 0))]);
  }
  const column = state.columns[name];
  return Array.from(column.codes, code => COLOURS[code % COLOURS.length]);
}

function makePanels() {
  const place = document.getElementById("panels");
  const axes = told.axes.length > 1 ? told.axes : [told.axes[0], {name: "place"}];
  if (told.axes.length === 1) {
    const ranks = Array.from({length: state.size}, (_, i) => i).sort((a, b) => raw(told.axes[0], a) - raw(told.axes[0], b));
    const found = new Float64Array(state.size);
    ranks.forEach((i, at) => { found[i] = at + 1; });
    state.source.data.place = found;
    axes[1] = {name: "place", label: "place", title: "place", log: false};
  }
  for (let row = 1; row < axes.length; row++)
    for (let column = 0; column < row; column++) panel(place, axes[column], axes[row]);
}

function panel(place, x, y) {
  const hover = new Bokeh.HoverTool({tooltips: "<div style='max-width:340px;white-space:normal'>@tip</div>", point_policy: "snap_to_data"});
  const brush = new Bokeh.BoxSelectTool({});
  const made = figure(place, {tools: [hover, brush, new Bokeh.BoxZoomTool(), new Bokeh.WheelZoomTool(),
    new Bokeh.ResetTool(), new Bokeh.SaveTool()], x_axis_type: x.log ? "log" : "linear",
    y_axis_type: y.log ? "log" : "linear", x_axis_label: x.title, y_axis_label: y.title});
  made.toolbar.active_drag = brush;
  for (const axis of [...made.xaxes, ...made.yaxes]) axis.formatter = TICKS();
  for (const range of [made.x_range, made.y_range]) range.range_padding = 0.16;  // room for the numbers
  errors(made, x, y);
  made.scatter({field: x.name}, {field: y.name}, {source: state.source, size: state.size > 3000 ? 4 : 6,
    fill_color: {field: "colour"}, line_color: null, fill_alpha: 0.75, nonselection_fill_alpha: 0.06,
    nonselection_fill_color: "#9aa3ad", selection_fill_alpha: 0.9});
  marks(made, x, y);
  const cell = element("div", {className: "panel", role: "figure"});
  cell.setAttribute("aria-label", `${y.title} over ${x.title}; the table below holds the same designs`);
  place.append(cell);
  hang(made, cell);
  made.on_event("tap", event => choose(nearest(x, y, event, made)));
}

function errors(made, x, y) {
  for (const [axis, other, across] of [[x, y, true], [y, x, false]]) {
    if (!told.bars.includes(axis.name)) continue;
    const step = Math.max(1, Math.ceil(state.size / BARS));
    const at = [], low = [], high = [];
    for (let i = 0; i < state.size; i += step) {
      at.push(state.source.data[other.name][i]);
      low.push((raw(axis, i) - state.columns[`low:${axis.name}`][i]) / axis.size);
      high.push((raw(axis, i) + state.columns[`high:${axis.name}`][i]) / axis.size);
    }
    const source = new Bokeh.ColumnDataSource({data: {at, low, high}});
    const fields = across ? [{field: "low"}, {field: "at"}, {field: "high"}, {field: "at"}]
      : [{field: "at"}, {field: "low"}, {field: "at"}, {field: "high"}];
    made.segment(...fields, {source, line_color: "#8a93a0", line_alpha: 0.35, line_width: 1});
  }
}

function marks(made, x, y) {
  const data = {x: [], y: [], name: []};
  told.marks.forEach((mark, at) => {
    data.x.push(state.source.data[x.name][mark.index]);
    data.y.push(state.source.data[y.name][mark.index]);
    data.name.push(String(at + 1));
  });
  const source = new Bokeh.ColumnDataSource({data});
  made.scatter({field: "x"}, {field: "y"}, {source, size: 13, fill_color: null, line_color: "#1c2430", line_width: 1.3});
  made.text({field: "x"}, {field: "y"}, {field: "name"}, {source, x_offset: 8, y_offset: -4, text_font_size: "12px", text_font_style: "bold", text_color: "#1c2430"});
  if (told.baseline && x.name in told.baseline.values && y.name in told.baseline.values) {
    const of = a => [told.baseline.values[a.name] / told.axes.find(t => t.name === a.name).size];
    const point = new Bokeh.ColumnDataSource({data: {x: of(x), y: of(y)}});
    made.scatter({field: "x"}, {field: "y"}, {source: point, marker: "x", size: 15, line_color: "#c2261d", line_width: 3});
  }
}

function nearest(x, y, event, made) {
  const scaled = (axis, value) => axis.log ? Math.log(value) : value;
  const width = Math.abs(scaled(x, made.x_range.end) - scaled(x, made.x_range.start)) || 1;
  const height = Math.abs(scaled(y, made.y_range.end) - scaled(y, made.y_range.start)) || 1;
  let best = 0, least = Infinity;
  for (let i = 0; i < state.size; i++) {
    if (!state.mask[i]) continue;
    const dx = (scaled(x, state.source.data[x.name][i]) - scaled(x, event.x)) / width;
    const dy = (scaled(y, state.source.data[y.name][i]) - scaled(y, event.y)) / height;
    if (dx * dx + dy * dy < least) { least = dx * dx + dy * dy; best = i; }
  }
  return best;
}

/* ---- parallel coordinates ---- */

function rails() {
  const objectives = told.axes.map(a => ({name: a.title, values: Array.from({length: state.size}, (_, i) => a.log ? Math.log(raw(a, i)) : raw(a, i)), ends: a.ends}));
  const settings = told.parallel.map(p => {
    const codes = state.columns[p.name].codes, ranks = p.ranks;
    return {name: p.label, values: Array.from(codes, c => ranks[c]), ends: p.ends};
  });
  return [...settings, ...objectives].map(rail => {
    let low = Infinity, high = -Infinity;
    for (const v of rail.values) { low = Math.min(low, v); high = Math.max(high, v); }
    return {...rail, scaled: rail.values.map(v => high > low ? (v - low) / (high - low) : 0.5)};
  });
}

function makeParallel() {
  const all = rails(), place = document.getElementById("parallel");
  state.rails = all;
  place.style.minWidth = `${RAIL * all.length}px`;  // more than a phone is wide: it scrolls
  state.lines = new Bokeh.ColumnDataSource({data: {xs: [], ys: [], colour: [], tip: []}});
  const brush = new Bokeh.BoxSelectTool({});
  const hover = new Bokeh.HoverTool({tooltips: "<div style='max-width:340px;white-space:normal'>@tip</div>", line_policy: "nearest"});
  const made = figure(place, {tools: [brush, hover, new Bokeh.SaveTool()], x_range: [-0.5, all.length - 0.5], y_range: [-0.06, 1.06]});
  made.toolbar.active_drag = brush;
  made.multi_line({field: "xs"}, {field: "ys"}, {source: state.lines, line_color: {field: "colour"}, line_alpha: 0.35, line_width: 1.2});
  made.xaxis.ticker = new Bokeh.FixedTicker({ticks: all.map((_, i) => i)});
  const room = (place.clientWidth - 10) / all.length;  // pixels of a label
  const label = ({name, ends}) => room < FLAT ? `${name}\n${ends[0]} … ${ends[1]}`
    : [name, ends[0], `… ${ends[1]}`].flatMap(part => broken(part, room - 8)).join("\n");
  state.labels = {room, flat: room >= FLAT, texts: all.map(label)};
  made.xaxis.major_label_overrides = new Map(state.labels.texts.map((words, i) => [i, words]));
  made.xaxis.major_label_text_font_size = LABEL;
  made.xaxis.major_label_text_align = room < FLAT ? "left" : "center";
  if (room < FLAT) made.xaxis.major_label_orientation = "vertical";
  made.yaxis.visible = false;
  made.on_event("selectiongeometry", event => {
    if (!event.final) return;
    const {x0, x1, y0, y1} = event.geometry, picked = new Set();
    const inside = all.filter((_, i) => i >= x0 && i <= x1);
    if (!inside.length) return;
    for (let i = 0; i < state.size; i++)
      if (inside.every(rail => rail.scaled[i] >= y0 && rail.scaled[i] <= y1)) picked.add(i);
    state.brushed = picked;
    update();
  });
  hang(made, place);
}

/* A label as lines of at most so many pixels; long names break behind a sign. */
function broken(label, room) {
  const pen = document.createElement("canvas").getContext("2d");
  pen.font = `${LABEL} Helvetica, Arial, sans-serif`;
  const lines = [""];
  for (const piece of label.match(/\[[^\]]*\]\s*\S*|[^\s._-]+[\s._-]*|\S\s*/g) || []) {  // a unit stays whole
    const longer = lines.at(-1) + piece;
    if (pen.measureText(longer.trimEnd()).width <= room) lines[lines.length - 1] = longer;
    else lines.push(piece);
  }
  return lines.map(line => line.trimEnd()).filter(Boolean);
}

function drawLines() {
  const kept = [];
  for (let i = 0; i < state.size; i++) if (state.mask[i]) kept.push(i);
  const step = Math.max(1, Math.ceil(kept.length / LINES)), some = kept.filter((_, at) => at % step === 0);
  const xs = state.rails.map((_, i) => i);
  state.lines.data = {xs: some.map(() => xs), ys: some.map(i => state.rails.map(rail => rail.scaled[i])),
    colour: some.map(i => state.source.data.colour[i]), tip: some.map(i => state.source.data.tip[i])};
}

function makeConvergence() {
  const place = document.getElementById("convergence");
  if (!told.convergence.length || !place) return;
  const data = {x: told.convergence.map(c => c[0]), y: told.convergence.map(c => c[1])};
  const source = new Bokeh.ColumnDataSource({data});
  const made = figure(place, {tools: [new Bokeh.HoverTool({tooltips: "@x{0,0} designs: @y{0.00000} of the last"}), new Bokeh.SaveTool()],
    x_axis_type: "log", x_axis_label: "designs evaluated", y_axis_label: "hypervolume, as a share of the last"});
  for (const axis of made.xaxes) axis.formatter = TICKS();
  made.line({field: "x"}, {field: "y"}, {source, line_color: "#0b5cad", line_width: 2});
  made.scatter({field: "x"}, {field: "y"}, {source, size: 7, fill_color: "#0b5cad", line_color: null});
  hang(made, place);
}

/* ---- filters ---- */

function makeFilters() {
  const place = document.getElementById("filters");
  state.bounds = told.axes.map(axis => {
    const ends = ["from", "to"].map(end => element("input", {type: "number", step: "any", className: "bound",
      placeholder: end, ariaLabel: `${axis.title} ${end}`}));
    for (const input of ends) for (const kind of ["input", "change"]) input.addEventListener(kind, update);
    place.append(element("span", {}, `${axis.title} `, ends[0], " ", ends[1]));
    return {axis, ends};
  });
  state.find = element("input", {type: "search", placeholder: "words of a setting: ws hbm2", ariaLabel: "settings to find", id: "find"});
  state.find.addEventListener("input", update);
  const colour = element("select", {id: "colour", ariaLabel: "what colours show"});
  for (const name of [...told.axes.map(a => a.name), ...told.coded.map(c => c.name)]) {
    const axis = told.axes.find(a => a.name === name);
    colour.append(element("option", {value: name, textContent: axis ? axis.label : told.coded.find(c => c.name === name).label, selected: name === told.colour}));
  }
  colour.addEventListener("change", () => {
    state.source.data = {...state.source.data, colour: colours(colour.value)};
    drawLines();
  });
  const clear = element("button", {id: "clear", textContent: "Show all", type: "button"});
  clear.addEventListener("click", () => {
    state.brushed = null;
    state.find.value = "";
    for (const {ends} of state.bounds) ends.forEach(input => { input.value = ""; });
    update();
  });
  place.append(state.find, element("label", {}, "colour ", colour), clear, element("span", {id: "count", role: "status"}));
}

function update() {
  const words = state.find.value.toLowerCase().split(/\s+/).filter(Boolean);
  const limits = state.bounds.map(({axis, ends}) => ({axis,
    low: ends[0].value === "" ? -Infinity : Number(ends[0].value), high: ends[1].value === "" ? Infinity : Number(ends[1].value)}));
  let count = 0;
  for (let i = 0; i < state.size; i++) {
    let kept = !state.brushed || state.brushed.has(i);
    for (const {axis, low, high} of limits) if (kept) { const v = drawn(axis, i); kept = v >= low && v <= high; }
    if (kept && words.length) { const own = ` ${text("settings", i).toLowerCase()}`; kept = words.every(w => own.includes(` ${w}`)); }
    state.mask[i] = kept ? 1 : 0;
    count += state.mask[i];
  }
  const picked = [];
  if (count < state.size) for (let i = 0; i < state.size; i++) if (state.mask[i]) picked.push(i);
  state.guard = true;
  state.source.selected.indices = picked;
  state.guard = false;
  document.getElementById("count").textContent = `${count.toLocaleString("en")} of ${state.size.toLocaleString("en")} designs`;
  state.page = 0;
  sortRows();
  drawLines();
}

/* ---- the table ---- */

const shownColumns = () => [{name: "id", title: "id"}, ...told.axes.map(a => ({name: a.shown, title: a.label, axis: a})),
  ...told.coded.map(c => ({name: c.name, title: c.label, coded: c}))];

function makeTable() {
  const head = document.querySelector("#rows thead");
  const row = element("tr");
  for (const column of shownColumns()) {
    const button = element("button", {type: "button", textContent: column.title});
    const cell = element("th", {scope: "col", className: column.coded ? "text" : ""}, button);
    cell.dataset.name = column.name;
    button.addEventListener("click", () => {
      state.down = state.sort === column.name ? !state.down : true;
      state.sort = column.name;
      state.page = 0;
      sortRows();
    });
    row.append(cell);
  }
  head.append(row);
  for (const [id, step] of [["before", -1], ["after", 1]])
    document.getElementById(id).addEventListener("click", () => { state.page += step; fillTable(); });
  document.getElementById("csv").addEventListener("click", () => download(`${told.name}.csv`, asCsv(), "text/csv"));
  document.getElementById("json").addEventListener("click", () => download(`${told.name}.json`, asJson(), "application/json"));
  document.querySelector("#rows tbody").addEventListener("keydown", event => {
    const row = event.target.closest("tr");
    if (!row) return;
    const next = {ArrowDown: row.nextElementSibling, ArrowUp: row.previousElementSibling}[event.key];
    if (next) { next.focus(); event.preventDefault(); }
    if (event.key === "Enter" || event.key === " ") { choose(Number(row.dataset.index)); event.preventDefault(); }
  });
  update();
}

function sortRows() {
  const column = shownColumns().find(c => c.name === state.sort);
  state.order = [];
  for (let i = 0; i < state.size; i++) if (state.mask[i]) state.order.push(i);
  if (column) {
    const value = column.axis ? i => raw(column.axis, i)
      : column.coded ? i => column.coded.ranks[state.columns[column.name].codes[i]] : i => state.columns.id[i];
    state.order.sort((a, b) => (state.down ? 1 : -1) * (value(a) - value(b)));
  }
  for (const cell of document.querySelectorAll("#rows th"))
    cell.setAttribute("aria-sort", cell.dataset.name !== state.sort ? "none" : state.down ? "ascending" : "descending");
  fillTable();
}

function fillTable() {
  const pages = Math.max(1, Math.ceil(state.order.length / ROWS));
  state.page = Math.min(Math.max(state.page, 0), pages - 1);
  const body = document.querySelector("#rows tbody"), columns = shownColumns();
  body.replaceChildren(...state.order.slice(state.page * ROWS, (state.page + 1) * ROWS).map(i => {
    const row = element("tr", {tabIndex: 0, className: i === state.chosen ? "chosen" : ""},
      ...columns.map(c => element("td", {textContent: c.name === "id" ? String(state.columns.id[i]) : text(c.name, i), className: c.coded ? "text" : ""})));
    row.dataset.index = i;
    row.addEventListener("click", () => choose(i));
    return row;
  }));
  document.getElementById("page").textContent = `page ${state.page + 1} of ${pages}`;
}

const exported = () => state.order.map(i => ({id: state.columns.id[i],
  ...Object.fromEntries(told.coded.map(c => [c.name, c.raws[state.columns[c.name].codes[i]]])),
  ...Object.fromEntries(told.axes.map(a => [a.name, raw(a, i)]))}));

function asCsv() {
  const rows = exported(), names = ["id", ...told.coded.map(c => c.name), ...told.axes.map(a => a.name)];
  const cell = v => v === null ? "" : /[",\n]/.test(String(v)) ? `"${String(v).replaceAll('"', '""')}"` : String(v);
  return [names.join(","), ...rows.map(r => names.map(n => cell(r[n])).join(","))].join("\n") + "\n";
}

const asJson = () => JSON.stringify(exported(), null, 1) + "\n";

/* ---- one design ---- */

function choose(i) {
  if (i < 0 || i >= state.size) return;
  state.chosen = i;
  const place = document.getElementById("design"), id = state.columns.id[i];
  const mark = told.marks.find(m => m.index === i);
  const list = element("dl");
  for (const axis of told.axes) list.append(element("dt", {textContent: axis.label}), element("dd", {textContent: text(axis.shown, i) + (axis.between ? ` (${text(axis.between, i)})` : "")}));
  for (const column of told.coded) if (text(column.name, i)) list.append(element("dt", {textContent: column.label}), element("dd", {textContent: text(column.name, i)}));
  const bars = told.breakdowns.map(group => stacked(group.title, group.shown ? text(group.shown, i) : "",
    group.parts.map((name, place) => ({name, share: state.columns[group.columns[place]][i] / 65535}))));
  const again = element("pre", {textContent: `transcode show ${told.folder} ${id}`});
  place.replaceChildren(element("h2", {textContent: `Design ${id}${mark ? `, ${mark.title}` : ""}`}), list, ...bars, again);
  for (const row of document.querySelectorAll("#rows tbody tr")) row.classList.toggle("chosen", Number(row.dataset.index) === i);
}

start().catch(error => {
  document.getElementById("panels").textContent = `This page could not be drawn: ${error.message}`;
  throw error;
});
