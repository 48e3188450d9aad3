/** The canvas: panning, zooming, hitting nodes, and one frame whenever something has changed. */

import { draw, radius } from "./drawing.js";
import { layout } from "./layout.js";

const NATURAL = 26;
const SMALLEST = 0.02;
const LARGEST = 64;
const calm = window.matchMedia("(prefers-reduced-motion: reduce)");

export class View {
  /** `on` has select(node), toggle(node) and moved(). */
  constructor(canvas, box, model, on) {
    Object.assign(this, { canvas, box, model, on });
    this.ink = canvas.getContext("2d");
    this.place = { x: 40, y: 40, row: NATURAL, wide: 1 };
    this.selected = null;
    this.found = new Set();
    this.palette = {};
    this.drawn = 0;
    this.shown = { nodes: [], rows: 0, width: 0 };
    this.#listen();
    new ResizeObserver(() => this.#resize()).observe(box);
    this.#resize();
  }

  get width() {
    return this.box.clientWidth;
  }

  get height() {
    return this.box.clientHeight;
  }

  /** Rows that can be read at once. */
  get room() {
    return Math.max(12, Math.floor((this.height - 60) / 17));
  }

  /** Lays the tree out anew, keeping a node where it stands on the screen. */
  relayout(anchor = null) {
    const before = anchor && anchor.row !== undefined ? this.at(anchor) : null;
    this.shown = layout(this.model);
    if (before) {
      const [x, y] = this.at(anchor);
      this.place.x += before[0] - x;
      this.place.y += before[1] - y;
    }
    this.redraw();
  }

  at(node) {
    const { x, y, row, wide } = this.place;
    return [x + node.column * wide, y + node.row * row];
  }

  redraw() {
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = null;
      this.drawn = draw(this.ink, this.width, this.height, this.place, {
        nodes: this.shown.nodes, model: this.model, selected: this.selected, found: this.found, palette: this.palette,
      });
    });
  }

  /** Shows the whole tree; small trees are not blown up. */
  fit() {
    const row = Math.min((this.height - 56) / Math.max(this.shown.rows, 1), 34);
    this.place.row = Math.max(row, SMALLEST);
    const scale = scaleOf(this.place.row);
    const wide = (this.width - 70) / Math.max(this.shown.width, 1);
    this.place.wide = this.place.row < 13 ? Math.min(wide, 1.6) : Math.min(Math.max(wide, 0.55), scale);
    const used = this.place.row * Math.max(this.shown.rows - 1, 0);
    this.place.x = 28;
    this.place.y = Math.max((this.height - used) / 2, 24);
    this.redraw();
  }

  zoom(by, x = this.width / 2, y = this.height / 2) {
    const { place } = this;
    const row = Math.min(Math.max(place.row * by, SMALLEST), LARGEST);
    const wide = Math.min(Math.max(place.wide * Math.sqrt(row / place.row), 0.12), scaleOf(row));
    place.y = y - ((y - place.y) * row) / place.row;
    place.x = x - ((x - place.x) * wide) / place.wide;
    Object.assign(place, { row, wide });
    this.on.moved();
    this.redraw();
  }

  pan(dx, dy) {
    this.place.x += dx;
    this.place.y += dy;
    this.on.moved();
    this.redraw();
  }

  select(node, follow = true) {
    this.selected = node;
    if (node && follow) this.#bringIn(node);
    this.redraw();
  }

  /** The node under a point, or the nearest one within a finger's breadth. */
  hit(x, y, finger = 12) {
    let best = null;
    let nearest = Infinity;
    const labels = this.place.row >= 13;
    for (const node of this.shown.nodes) {
      if (!this.model.there(node)) continue;
      const [nx, ny] = this.at(node);
      const over = x - nx;
      const reach = labels ? radius(node, this.place) + 8 + node.labelWidth : 0;
      const dx = over < 0 ? -over : Math.max(over - reach, 0);
      const far = Math.hypot(dx, y - ny);
      if (far < nearest) [best, nearest] = [node, far];
    }
    return nearest <= Math.max(finger, this.place.row / 2) ? best : null;
  }

  #bringIn(node) {
    const [x, y] = this.at(node);
    const [left, top] = [30, 40];
    const right = Math.max(this.width - Math.min(node.labelWidth + 40, this.width / 2), left);
    const dx = x < left ? left - x : x > right ? right - x : 0;
    const dy = y < top ? top - y : y > this.height - top ? this.height - top - y : 0;
    if (dx || dy) this.#glide(dx, dy);
  }

  #glide(dx, dy) {
    cancelAnimationFrame(this.gliding);
    if (calm.matches || Math.hypot(dx, dy) > 4000) return void this.pan(dx, dy);
    let gone = 0;
    const started = performance.now();
    const step = (now) => {
      const part = 1 - (1 - Math.min((now - started) / 160, 1)) ** 3;
      this.pan(dx * (part - gone), dy * (part - gone));
      gone = part;
      if (part < 1) this.gliding = requestAnimationFrame(step);
    };
    this.gliding = requestAnimationFrame(step);
  }

  #resize() {
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = this.width * ratio;
    this.canvas.height = this.height * ratio;
    this.ink.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.on.resized?.();
    this.redraw();
  }

  #listen() {
    const { canvas } = this;
    const fingers = new Map();
    let moved = 0;
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, [event.offsetX, event.offsetY]);
      if (fingers.size === 1) moved = 0;
    });
    canvas.addEventListener("pointermove", (event) => {
      const before = fingers.get(event.pointerId);
      if (!before) return void (canvas.style.cursor = this.hit(event.offsetX, event.offsetY) ? "pointer" : "grab");
      const spread = fingers.size === 2 ? apart(fingers) : 0;
      fingers.set(event.pointerId, [event.offsetX, event.offsetY]);
      const [dx, dy] = [event.offsetX - before[0], event.offsetY - before[1]];
      moved += Math.abs(dx) + Math.abs(dy);
      if (fingers.size === 2) this.zoom(apart(fingers) / Math.max(spread, 1), event.offsetX, event.offsetY);
      else if (moved > 4) this.pan(dx, dy);
    });
    const lift = (event) => {
      if (event.type === "pointerup" && fingers.size === 1 && moved <= 4) {
        const node = this.hit(event.offsetX, event.offsetY);
        if (node) this.on.select(node);
      }
      fingers.delete(event.pointerId);
    };
    canvas.addEventListener("pointerup", lift);
    canvas.addEventListener("pointercancel", lift);
    canvas.addEventListener("dblclick", (event) => {
      const node = this.hit(event.offsetX, event.offsetY);
      if (node) this.on.toggle(node);
    });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      if (event.shiftKey) this.pan(-event.deltaY - event.deltaX, 0);
      else this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)), event.offsetX, event.offsetY);
    }, { passive: false });
  }
}

/** Columns are as wide as their texts where those can be read, and narrower beyond. */
function scaleOf(row) {
  return Math.min(Math.max(row / 18, 0.12), 1);
}

function apart(fingers) {
  const [[x, y], [a, b]] = [...fingers.values()];
  return Math.hypot(x - a, y - b);
}
