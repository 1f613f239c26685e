/* Bodies in 3D: a small software rasteriser with a depth buffer, so that it needs neither WebGL nor a library. */
const BODY_COLOURS = [[90, 190, 120], [240, 150, 70], [95, 165, 235], [220, 130, 200]];
/* Undoes the packing: inflate, join low and high bytes, add up the differences of the frames. */
async function unpackMotion(text, n) {
  const stream = new Blob([bytesOf(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
  const planes = new Uint8Array(await new Response(stream).arrayBuffer());
  const count = planes.length / 2, out = new Int16Array(count), width = 3 * n;
  for (let i = 0; i < count; i++) {
    out[i] = planes[i] | (planes[count + i] << 8);
    if (i >= width) out[i] += out[i - width];
  }
  return out;
}
class Viewer3D {
  constructor(box) {
    this.data = REPORT[box.dataset.viewer];
    this.box = box;
    for (const name of ["clip", "mode", "play", "reset", "frame", "bodies", "readout"]) this[name] = box.querySelector("." + name);
    this.canvas = box.querySelector("canvas");
    this.context = this.canvas.getContext("2d");
    this.faces = this.data.faces ? asUint16(this.data.faces) : null;
    const words = { worst: "worst", middle: "usual", best: "best" };
    this.data.clips.forEach((c, i) => this.clip.append(make("option", { value: i }, `${words[c.why] || c.why}: ${c.track}, frames ${c.frames[0]} to ${c.frames[c.frames.length - 1]}`)));
    this.shown = this.data.bodies.map((name, i) => {
      const label = make("label"), tick = make("input", { type: "checkbox" }), key = make("span", { class: "key", "aria-hidden": "true" });
      tick.checked = true;
      tick.addEventListener("change", () => this.draw());
      key.style.background = `rgb(${BODY_COLOURS[i % 4]})`;
      label.append(tick, key, make("span", {}, name));
      this.bodies.append(label);
      return tick;
    });
    this.clip.addEventListener("change", () => this.load());
    this.mode.addEventListener("change", () => this.draw());
    this.frame.addEventListener("input", () => this.draw());
    this.play.addEventListener("click", () => this.toggle());
    this.reset.addEventListener("click", () => { this.home(); this.draw(); });
    this.pointers();
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.home();
    this.load();
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }
  home() { this.yaw = 0; this.pitch = 0; this.zoom = 1; }
  pointers() {
    let from = null;
    this.canvas.addEventListener("pointerdown", (e) => { from = [e.clientX, e.clientY]; this.canvas.setPointerCapture(e.pointerId); });
    this.canvas.addEventListener("pointerup", () => { from = null; });
    this.canvas.addEventListener("pointercancel", () => { from = null; });
    this.canvas.addEventListener("pointermove", (e) => {
      if (!from) return;
      this.turn((e.clientX - from[0]) * 0.01, (e.clientY - from[1]) * 0.01);
      from = [e.clientX, e.clientY];
    });
    this.canvas.addEventListener("wheel", (e) => {
      if (!e.ctrlKey && document.activeElement !== this.canvas) return;
      e.preventDefault();
      this.scale(Math.exp(-e.deltaY * 0.0015));
    }, { passive: false });
  }
  turn(yaw, pitch) { this.yaw += yaw; this.pitch = Math.max(-1.5, Math.min(1.5, this.pitch + pitch)); this.draw(); }
  scale(factor) { this.zoom = Math.max(0.4, Math.min(5, this.zoom * factor)); this.draw(); }
  key(event) {
    const does = {
      ArrowLeft: () => this.turn(-0.15, 0), ArrowRight: () => this.turn(0.15, 0),
      ArrowUp: () => this.turn(0, -0.15), ArrowDown: () => this.turn(0, 0.15),
      "+": () => this.scale(1.15), "=": () => this.scale(1.15), "-": () => this.scale(1 / 1.15), " ": () => this.toggle(),
    }[event.key];
    if (does) { event.preventDefault(); does(); }
  }
  async load() {
    const entry = this.data.clips[+this.clip.value];
    try {
      entry.points ||= await Promise.all(entry.bodies.map((body) => body && unpackMotion(body.xyz, body.n)));
    } catch (error) {
      this.readout.textContent = `This browser cannot unpack the clips (${error.message}).`;
      return;
    }
    if (this.data.clips[+this.clip.value] !== entry) return;
    this.entry = entry;
    this.points = entry.points;
    this.frame.max = entry.frames.length - 1;
    this.frame.value = 0;
    /* How far bodies reach to the side, however they are turned, and up or down: nothing leaves the picture. */
    this.reach = { side: 0.4, up: 0.5 };
    this.points.forEach((p) => {
      if (!p) return;
      for (let i = 0; i < p.length; i += 3) {
        this.reach.side = Math.max(this.reach.side, Math.hypot(p[i], p[i + 2]) * this.data.step);
        this.reach.up = Math.max(this.reach.up, Math.abs(p[i + 1]) * this.data.step);
      }
    });
    this.draw();
  }
  toggle() {
    const playing = this.play.getAttribute("aria-pressed") !== "true";
    this.play.setAttribute("aria-pressed", String(playing));
    this.play.textContent = playing ? "Pause" : "Play";
    if (!playing) return;
    let last = 0;
    const step = (now) => {
      if (this.play.getAttribute("aria-pressed") !== "true") return;
      if (now - last > 55) {
        last = now;
        this.frame.value = (+this.frame.value + 1) % this.entry.frames.length;
        this.draw();
      }
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }
  draw() {
    const ratio = Math.min(devicePixelRatio || 1, 2);
    const width = Math.round(this.canvas.clientWidth * ratio), height = Math.round(this.canvas.clientHeight * ratio);
    if (!width || !height || !this.entry) return;
    if (this.canvas.width !== width || this.canvas.height !== height) { this.canvas.width = width; this.canvas.height = height; }
    const wanted = this.points.map((p, i) => (p && this.shown[i].checked ? i : -1)).filter((i) => i >= 0);
    const beside = this.mode.value === "beside", slots = beside ? Math.max(wanted.length, 1) : 1;
    const apart = 0.9; /* metres between the middles of two bodies: arms may reach past each other, but not out of the picture */
    const unit = Math.min(width / ((slots - 1) * apart + 2 * this.reach.side), height / (2 * this.reach.up)) * 0.96 * this.zoom;
    const layer = this.faces ? { pixels: this.context.createImageData(width, height), depth: new Float32Array(width * height).fill(Infinity) } : null;
    if (!layer) this.context.clearRect(0, 0, width, height);
    wanted.forEach((i, place) => {
      const centre = [width / 2 + (beside ? (place - (slots - 1) / 2) * apart * unit : 0), height / 2];
      const seen = this.project(i, unit, centre);
      if (layer) this.mesh(seen, BODY_COLOURS[i % 4], layer, width, height);
      else this.lines(seen, this.entry.bodies[i].bones, BODY_COLOURS[i % 4], ratio);
    });
    if (layer) this.context.putImageData(layer.pixels, 0, 0);
    const at = +this.frame.value, number = this.entry.frames[at];
    this.frame.setAttribute("aria-valuetext", `frame ${number}`);
    this.readout.textContent = `${this.entry.track}, frame ${number} (${at + 1} of ${this.entry.frames.length})`;
    this.canvas.dataset.drawn = String(wanted.length);
  }
  project(i, unit, centre) {
    const n = this.entry.bodies[i].n, all = this.points[i], from = +this.frame.value * n * 3, step = this.data.step;
    const cy = Math.cos(this.yaw), sy = Math.sin(this.yaw), cp = Math.cos(this.pitch), sp = Math.sin(this.pitch);
    const out = new Float32Array(n * 3);
    for (let v = 0; v < n; v++) {
      const x = all[from + 3 * v] * step, y = all[from + 3 * v + 1] * step, z = all[from + 3 * v + 2] * step;
      const x1 = cy * x - sy * z, z1 = sy * x + cy * z;
      out[3 * v] = centre[0] + unit * x1;
      out[3 * v + 1] = centre[1] + unit * (cp * y - sp * z1);
      out[3 * v + 2] = unit * (sp * y + cp * z1);
    }
    return out;
  }
  mesh(p, colour, layer, width, height) {
    const faces = this.faces, n = p.length / 3, normals = new Float32Array(p.length);
    for (let f = 0; f < faces.length; f += 3) {
      const a = 3 * faces[f], b = 3 * faces[f + 1], c = 3 * faces[f + 2];
      const ux = p[b] - p[a], uy = p[b + 1] - p[a + 1], uz = p[b + 2] - p[a + 2];
      const vx = p[c] - p[a], vy = p[c + 1] - p[a + 1], vz = p[c + 2] - p[a + 2];
      const nx = uy * vz - uz * vy, ny = uz * vx - ux * vz, nz = ux * vy - uy * vx;
      for (const k of [a, b, c]) { normals[k] += nx; normals[k + 1] += ny; normals[k + 2] += nz; }
    }
    const light = new Float32Array(n);
    for (let v = 0; v < n; v++) {
      const x = normals[3 * v], y = normals[3 * v + 1], z = normals[3 * v + 2], l = Math.hypot(x, y, z) || 1;
      light[v] = 0.34 + 0.66 * Math.max(0, (0.3 * x - 0.5 * y - 0.8 * z) / l);
    }
    for (let f = 0; f < faces.length; f += 3) this.triangle(p, light, faces[f], faces[f + 1], faces[f + 2], colour, layer, width, height);
  }
  triangle(p, light, i, j, k, colour, layer, width, height) {
    const ax = p[3 * i], ay = p[3 * i + 1], bx = p[3 * j], by = p[3 * j + 1], cx = p[3 * k], cy = p[3 * k + 1];
    const area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax);
    if (Math.abs(area) < 1e-9) return;
    const left = Math.max(0, Math.floor(Math.min(ax, bx, cx))), right = Math.min(width - 1, Math.ceil(Math.max(ax, bx, cx)));
    const top = Math.max(0, Math.floor(Math.min(ay, by, cy))), bottom = Math.min(height - 1, Math.ceil(Math.max(ay, by, cy)));
    const pixels = layer.pixels.data, depth = layer.depth;
    for (let y = top; y <= bottom; y++) {
      for (let x = left; x <= right; x++) {
        const u = ((bx - x) * (cy - y) - (by - y) * (cx - x)) / area, v = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) / area, w = 1 - u - v;
        if (u < -1e-4 || v < -1e-4 || w < -1e-4) continue;
        const z = u * p[3 * i + 2] + v * p[3 * j + 2] + w * p[3 * k + 2], at = y * width + x;
        if (z >= depth[at]) continue;
        depth[at] = z;
        const shade = u * light[i] + v * light[j] + w * light[k];
        pixels[4 * at] = colour[0] * shade; pixels[4 * at + 1] = colour[1] * shade; pixels[4 * at + 2] = colour[2] * shade; pixels[4 * at + 3] = 255;
      }
    }
  }
  lines(p, bones, colour, ratio) {
    const c = this.context;
    c.strokeStyle = c.fillStyle = `rgb(${colour})`;
    c.lineWidth = 4 * ratio;
    c.lineCap = "round";
    for (const [a, b] of bones || []) { c.beginPath(); c.moveTo(p[3 * a], p[3 * a + 1]); c.lineTo(p[3 * b], p[3 * b + 1]); c.stroke(); }
    for (let v = 0; v < p.length; v += 3) { c.beginPath(); c.arc(p[v], p[v + 1], 4.5 * ratio, 0, 7); c.fill(); }
  }
}
