"use strict";
/* What both pages share: unpacking, elements, stacked bars, figures. */

const told = JSON.parse(document.getElementById("told").textContent);
const COLOURS = ["#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb",
  "#994455", "#997700", "#6699cc", "#004488", "#eecc66", "#555555"];
const CIVIDIS = ["#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74",
  "#c3b369", "#e1cc55", "#fee838"];

async function unpack(element) {
  const text = element.textContent;
  element.textContent = "";
  const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return await new Response(stream).arrayBuffer();
}

async function loadLibrary() {
  for (const element of document.querySelectorAll("script.library")) {
    const source = new TextDecoder().decode(await unpack(element));
    const script = document.createElement("script");
    script.text = source;
    document.head.append(script);
  }
}

async function loadColumns() {
  const buffer = await unpack(document.getElementById("packed"));
  const found = {};
  for (const [name, entry] of Object.entries(told.columns)) {
    if (entry.array === "texts") {
      const text = new TextDecoder().decode(new Uint8Array(buffer, entry.start, entry.bytes));
      found[name] = entry.length ? text.split("\n") : [];
    } else {
      const array = new globalThis[entry.array](buffer, entry.start, entry.length);
      found[name] = entry.texts ? {codes: array, texts: entry.texts} : array;
    }
  }
  return found;
}

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key in made && key !== "style") made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

/* A name has one colour wherever it stands on a page; evidence has the same on every page, the
   warmer the weaker. */
const named = new Map();
const EVIDENCE = {measured: "#117733", published: "#44aa99", synthesis: "#88ccee", derived: "#6699cc",
  scaled: "#ddcc77", assumed: "#cc6677"};
const colourOf = name => {
  if (name in EVIDENCE) return EVIDENCE[name];
  if (!named.has(name)) named.set(name, COLOURS[named.size % COLOURS.length]);
  return named.get(name);
};

/* A bar of named shares, the largest first, with its key. parts : [{name, share}] */
function stacked(title, total, parts) {
  const shown = parts.filter(p => p.share > 0).sort((a, b) => b.share - a.share);
  const bar = element("div", {className: "stack", role: "img"});
  const key = element("div", {className: "key"});
  let told = [];
  for (const part of shown) {
    const percent = `${(100 * part.share).toFixed(1)} %`;
    const colour = colourOf(part.name);
    bar.append(element("span", {style: `width:${100 * part.share}%;background:${colour}`, title: `${part.name} ${percent}`}));
    key.append(element("span", {}, element("i", {style: `background:${colour}`}), `${part.name} ${percent}`));
    told.push(`${part.name} ${percent}`);
  }
  bar.setAttribute("aria-label", `${title}: ${told.join(", ")}`);
  return element("div", {}, element("h3", {textContent: total ? `${title}: ${total}` : title}), bar, key);
}

function download(name, text, kind) {
  const link = element("a", {href: URL.createObjectURL(new Blob([text], {type: kind})), download: name});
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/* A Bokeh figure that fills an element. */
function figure(place, options) {
  const made = Bokeh.Plotting.figure({sizing_mode: "stretch_both", toolbar_location: "above",
    output_backend: "canvas", active_scroll: null, ...options});
  made.toolbar.logo = null;
  made.grid.grid_line_color = "#e6e9ee";
  for (const [axis, kind] of [...made.xaxes.map(a => [a, options.x_axis_type]), ...made.yaxes.map(a => [a, options.y_axis_type])])
    if (kind === "log") axis.ticker = DECADES();
  return made;
}

/* Ticks of a logarithmic axis: as many of 1, 2 and 5 of each power of ten as are easily read, and at
   least two. Bokeh's own steps evenly over less than two powers, which crowds one end. */
const DECADES = () => new Bokeh.CustomJSTicker({major_code: `
  const {start, end} = cb_data, low = Math.min(start, end), high = Math.max(start, end), most = 6;
  if (!(low > 0) || !(high < Infinity)) return [];
  const first = Math.floor(Math.log10(low)), last = Math.ceil(Math.log10(high));
  const within = (factors, step) => {
    const found = [];
    for (let power = first; power <= last; power++)
      if (power % step === 0)
        for (const factor of factors) {
          const tick = Number((factor + "e" + power));
          if (tick >= low * (1 - 1e-9) && tick <= high * (1 + 1e-9)) found.push(tick);
        }
    return found;
  };
  const every = [1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9];
  for (const factors of [every, [1, 2, 3, 5, 7], [1, 2, 5], [1, 3], [1]]) {
    const found = within(factors, 1);
    if (found.length <= most && found.length > 1) return found;
  }
  for (let step = 2; step <= last - first; step++) {
    const found = within([1], step);
    if (found.length <= most) return found;
  }
  const found = within(every, 1);
  return found.length ? found : [low, high];`, minor_code: `
  const {start, end} = cb_data, low = Math.min(start, end), high = Math.max(start, end);
  if (!(low > 0) || high / low > 1e5) return [];
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++)
    for (let factor = 1; factor < 10; factor++) {
      const tick = Number((factor + "e" + power));
      if (tick >= low && tick <= high) found.push(tick);
    }
  return found;`});

/* All figures are of one document, since they share their designs: shown together at the end. */
const shown = {roots: [], places: []};

function hang(made, place) {
  shown.roots.push(made);
  shown.places.push(place);
}

async function showAll() {
  Bokeh.set_log_level("error");
  const page = new Bokeh.Document();
  for (const root of shown.roots) page.add_root(root);
  await Bokeh.embed.add_document_standalone(page, document.body, shown.places);
}

/* `10 + 20 + ...` as people write numbers on an axis. */
const TICKS = () => new Bokeh.CustomJSTickFormatter({code: `
  const size = Math.abs(tick);
  if (tick === 0) return "0";
  if (size >= 1e15 || size < 1e-4) return tick.toExponential(1);
  return Number(tick.toPrecision(4)).toLocaleString("en");`});

function ready(milliseconds) {
  document.body.dataset.ready = String(Math.round(milliseconds));
}
