"use strict";
/* Small tools that both parts use. Texts are set as text, never as markup. */
const REPORT = JSON.parse(document.getElementById("report-data").textContent);
const bytesOf = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const asUint16 = (text) => new Uint16Array(bytesOf(text).buffer);
function make(name, attributes = {}, text = null, svg = false) {
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== null) node.textContent = text;
  return node;
}
function niceTicks(high, count) {
  const raw = Math.max(high, 1e-9) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 2.5, 5, 10].find((f) => f * power >= raw * 0.999);
  const ticks = [];
  for (let i = 0; i <= Math.ceil(high / step - 1e-9); i++) ticks.push(+(i * step).toPrecision(12));
  return ticks;
}

/* Colour of a series, and the round in which that colour is used. */
const look = (letter, s) => `${letter}${s % 8}` + (s < 8 ? "" : ` r${Math.floor(s / 8) % 3}`);

/* Error over time: one line per run, the frame's picture and values under the cursor. */
class Timeline {
  constructor(box) {
    this.data = REPORT[box.dataset.timeline];
    this.box = box;
    for (const name of ["track", "metric", "frame", "photo", "readout", "values"]) this[name] = box.querySelector("." + name);
    this.svg = box.querySelector("svg");
    this.image = this.photo.querySelector("img");
    this.data.tracks.forEach((t, i) => this.track.append(make("option", { value: i }, t.track)));
    this.data.metrics.forEach((m, i) => this.metric.append(make("option", { value: i }, `${m.name} [${m.unit}]`)));
    this.track.addEventListener("change", () => { this.frame.value = 0; this.draw(); });
    this.metric.addEventListener("change", () => this.draw());
    this.frame.addEventListener("input", () => this.show(+this.frame.value));
    const follow = (event) => this.follow(event);
    this.svg.addEventListener("pointermove", follow);
    this.svg.addEventListener("pointerdown", follow);
    box.querySelector("details").addEventListener("toggle", () => this.fill());
    this.draw();
    new ResizeObserver(() => { if (this.svg.clientWidth && this.svg.clientWidth !== this.width) this.draw(); }).observe(this.svg);
  }
  draw() {
    const entry = (this.entry = this.data.tracks[+this.track.value]);
    const metric = (this.m = this.data.metrics[+this.metric.value]);
    this.series = entry.values[metric.key].map((text) => Array.from(asUint16(text), (v) => (v === 65535 ? NaN : v * metric.scale)));
    const known = this.series.flat().filter((v) => !isNaN(v));
    const ticks = niceTicks(known.length ? known.reduce((a, b) => Math.max(a, b)) : 1, 4);
    const width = (this.width = Math.max(280, this.svg.clientWidth || 640));
    const height = width < 500 ? 230 : 300;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.setAttribute("aria-label", `${metric.name} of every frame of ${entry.track}, one line per run`);
    const first = entry.frames[0], last = entry.frames[entry.frames.length - 1];
    const left = 46, right = width - 8, top = 10, bottom = height - 34;
    this.x = (f) => left + ((f - first) / (last - first || 1)) * (right - left);
    this.y = (v) => bottom - (v / (ticks[ticks.length - 1] || 1)) * (bottom - top);
    const parts = [];
    const step = Math.max(1, (right - left) / (last - first || 1));
    const hits = new Set(entry.corrupted.flat());
    hits.forEach((f) => parts.push(make("rect", { class: "hit", x: this.x(f) - step / 2, y: top, width: step, height: bottom - top }, null, true)));
    ticks.forEach((t) => {
      parts.push(make("path", { class: "rule", d: `M${left} ${this.y(t)}H${right}` }, null, true));
      parts.push(make("text", { class: "tick end", x: left - 6, y: this.y(t) + 4 }, String(t), true));
    });
    new Set([first, Math.round((first + last) / 2), last]).forEach((f) =>
      parts.push(make("text", { class: "tick " + (f === first ? "start" : f === last ? "end" : "middle"), x: this.x(f), y: bottom + 15 }, String(f), true)));
    parts.push(make("text", { class: "axis middle", x: (left + right) / 2, y: height - 4 }, `frame of ${entry.track}`, true));
    this.series.forEach((values, s) => {
      let path = "", pen = false;
      values.forEach((v, i) => {
        if (isNaN(v)) { pen = false; return; }
        const cx = this.x(entry.frames[i]).toFixed(1), cy = this.y(v).toFixed(1);
        /* A frame without neighbours makes no line. */
        if (!pen && !(values[i + 1] >= 0)) parts.push(make("circle", { class: `dot ${look("s", s)}`, cx, cy, r: 3 }, null, true));
        path += `${pen ? "L" : "M"}${cx} ${cy}`;
        pen = true;
      });
      parts.push(make("path", { class: `line ${look("s", s)}`, d: path || "M0 0" }, null, true));
    });
    this.cursor = make("path", { class: "cursor", d: "" }, null, true);
    this.span = [top, bottom];
    this.svg.replaceChildren(...parts, this.cursor);
    this.frame.max = entry.frames.length - 1;
    this.show(Math.min(+this.frame.value, entry.frames.length - 1));
    this.fill();
  }
  follow(event) {
    const box = this.svg.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * this.width;
    let best = 0;
    this.entry.frames.forEach((f, i) => { if (Math.abs(this.x(f) - at) < Math.abs(this.x(this.entry.frames[best]) - at)) best = i; });
    this.frame.value = best;
    this.show(best);
  }
  show(index) {
    const entry = this.entry, number = entry.frames[index];
    this.cursor.setAttribute("d", `M${this.x(number)} ${this.span[0]}V${this.span[1]}`);
    const lines = [make("p", {}, `frame ${number}`)];
    const said = [`frame ${number}`];
    this.series.forEach((values, s) => {
      const line = make("p");
      const value = isNaN(values[index]) ? "–" : `${values[index].toFixed(1)} ${this.m.unit}`;
      line.append(make("span", { class: `key ${look("k", s)}`, "aria-hidden": "true" }), make("span", { class: "name" }, this.data.runs[s]), make("b", {}, value));
      lines.push(line);
      said.push(`${this.data.runs[s]} ${value}`);
    });
    const hit = entry.corrupted.map((frames, s) => (frames.includes(number) ? this.data.runs[s] : null)).filter(Boolean);
    if (hit.length) lines.push(make("p", {}, hit.length === this.data.runs.length ? "corrupted input" : `corrupted input of ${hit.join("; ")}`));
    this.frame.setAttribute("aria-valuetext", said.join(", "));
    this.readout.replaceChildren(...lines);
    this.picture(number);
  }
  picture(number) {
    const near = Object.keys(this.entry.pictures).map(Number).reduce((a, b) => (a === null || Math.abs(b - number) < Math.abs(a - number) ? b : a), null);
    this.image.hidden = near === null;
    this.photo.querySelector("p").hidden = near !== null;
    if (near === null) return;
    this.image.src = this.entry.pictures[near];
    this.image.alt = `Frame ${near} of ${this.entry.track}`;
    this.image.title = near === number ? `frame ${near}` : `frame ${near}, the nearest one in this file`;
  }
  fill() {
    if (!this.box.querySelector("details").open) return;
    const head = make("tr");
    head.append(make("th", { scope: "col" }, "frame"), ...this.data.runs.map((r) => make("th", { scope: "col", class: "n" }, r)));
    const rows = this.entry.frames.map((f, i) => {
      const row = make("tr");
      row.append(make("th", { scope: "row" }, String(f)), ...this.series.map((v) => make("td", { class: "n" }, isNaN(v[i]) ? "–" : v[i].toFixed(1))));
      return row;
    });
    const thead = make("thead"), tbody = make("tbody");
    thead.append(head);
    tbody.append(...rows);
    this.values.replaceChildren(make("caption", {}, `${this.m.name} [${this.m.unit}] of ${this.entry.track}`), thead, tbody);
  }
}
