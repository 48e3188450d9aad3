/** One frame of the tree on a canvas. Only what lies on the screen is drawn, and no two edges on the same pixels. */

import { mark } from "./glyphs.js";

export const READABLE = 13;
const FONT = "ui-monospace, 'SF Mono', 'Cascadia Mono', 'DejaVu Sans Mono', Menlo, Consolas, monospace";

/**
 * @param place { x, y, row, wide }: where the root's corner is, the height of a row, and the scale of columns
 * @param scene { nodes, model, selected, found, palette }
 */
export function draw(ink, width, height, place, scene) {
  ink.clearRect(0, 0, width, height);
  const far = 40;
  const { model } = scene;
  const labels = place.row >= READABLE;
  const at = (node) => [place.x + node.column * place.wide, place.y + node.row * place.row];
  const chosen = new Set(scene.selected ? model.path(scene.selected) : []);
  const marks = [];
  const edges = { plain: [], line: [], best: [], chosen: [] };
  for (const node of scene.nodes) {
    if (!model.there(node)) continue;
    const [x, y] = at(node);
    if (x > width + far) continue;
    if (y > -far && y < height + far) marks.push([node, x, y]);
    const from = x + (labels ? radius(node, place) + 10 + labelRoom(node, place) : 0);
    let drawn = NaN;
    for (const child of node.kids) {
      if (!model.there(child)) continue;
      const [cx, cy] = at(child);
      if ((cy < -far && y < -far) || (cy > height + far && y > height + far)) continue;
      const special = model.best.has(child) || chosen.has(child);
      if (!special && Math.round(cy) === drawn) continue;
      drawn = Math.round(cy);
      const kind = chosen.has(child) ? "chosen" : model.best.has(child) ? "best"
        : child.kind === "thought" ? "plain" : "line";
      edges[kind].push([Math.min(from, cx - 14), y, cx - (labels ? 7 : 2), cy]);
    }
  }
  const { palette } = scene;
  stroke(ink, edges.plain, palette.rule, place.row < 4 ? 0.5 : 1);
  stroke(ink, edges.line, palette.rule, 1, [4, 4]);
  stroke(ink, edges.best, palette.best, 2.5);
  stroke(ink, edges.chosen, palette.accent, 2);
  if (labels) for (const [node, x, y] of marks) label(ink, node, x, y, place, scene);
  else smallLast(marks, model);
  for (const [node, x, y] of marks) {
    const r = radius(node, place);
    if (node === scene.selected) halo(ink, x, y, r, palette);
    mark(ink, model.state(node), x, y, r, palette);
  }
  return marks.length;
}

/** Where marks lie upon each other the rare ones must be seen: they come last. */
function smallLast(marks, model) {
  const rank = { dead: 0, open: 1, exhausted: 1, refuted: 2, finished: 3, root: 4, proved: 5 };
  marks.sort(([a], [b]) => rank[model.state(a)] - rank[model.state(b)]);
}

/** The size of a mark: more visits, a larger one. */
export function radius(node, place) {
  const most = Math.min(5 + Math.log2(1 + (node.visits ?? 0)) * 0.45, 9);
  return Math.max(1.2, Math.min(most, place.row * 0.36));
}

function fontSize(place) {
  return Math.min(12, place.row * 0.62);
}

/** Pixels of a node's text: all that it takes, or what is left before the column of its children. */
function textRoom(node, place) {
  const wanted = node.labelWidth * (fontSize(place) / 12);
  if (!node.kids.length) return wanted;
  const between = (node.kids[0].column - node.column) * place.wide;
  return Math.max(Math.min(wanted, between - radius(node, place) - 26 - (node.hidden ? 40 : 0)), 0);
}

function labelRoom(node, place) {
  return textRoom(node, place) + (node.hidden ? 40 : 0);
}

function fitting(node, place) {
  const room = textRoom(node, place) / node.labelWidth / (fontSize(place) / 12);
  if (room >= 1) return node.label;
  const characters = [...node.label];
  const kept = Math.floor(characters.length * room) - 1;
  return kept > 0 ? `${characters.slice(0, kept).join("")}…` : "";
}

function label(ink, node, x, y, place, scene) {
  const { palette, model } = scene;
  const size = fontSize(place);
  const bold = model.best.has(node) || node === scene.selected;
  const failed = node.outcome === "dead" || node.outcome === "refuted";
  const left = x + radius(node, place) + 6;
  ink.font = `${bold ? 600 : 400} ${size}px ${FONT}`;
  ink.textBaseline = "middle";
  ink.direction = "ltr";
  if (scene.found.has(node)) {
    ink.fillStyle = palette.halo;
    ink.fillRect(left - 2, y - size * 0.75, ink.measureText(node.label).width + 4, size * 1.5);
  }
  ink.fillStyle = failed ? palette.faint : palette.ink;
  ink.fillText(fitting(node, place), left, y + 0.5);
  if (node.hidden) {
    ink.font = `400 ${size * 0.9}px ${FONT}`;
    ink.fillStyle = palette.accent;
    ink.fillText(`+${node.hidden}`, left + textRoom(node, place) + 8, y + 0.5);
  }
  if (place.row >= 24 && node.parent && typeof node.q === "number" && node.visits > 0) {
    ink.fillStyle = palette.rule;
    ink.fillRect(left, y + size * 0.72, 40, 2);
    ink.fillStyle = palette[model.state(node)];
    ink.fillRect(left, y + size * 0.72, 40 * node.q, 2);
  }
}

function halo(ink, x, y, r, palette) {
  ink.beginPath();
  ink.arc(x, y, r + 5, 0, 2 * Math.PI);
  ink.fillStyle = palette.halo;
  ink.fill();
  ink.strokeStyle = palette.accent;
  ink.lineWidth = 2;
  ink.stroke();
}

function stroke(ink, edges, colour, width, dashes = []) {
  ink.beginPath();
  for (const [x, y, cx, cy] of edges) {
    ink.moveTo(x, y);
    if (Math.abs(cy - y) < 1) ink.lineTo(cx, cy);
    else {
      const bend = Math.max(cx - 26, (x + cx) / 2);
      ink.bezierCurveTo(bend, y, bend, cy, cx, cy);
    }
  }
  ink.setLineDash(dashes);
  ink.strokeStyle = colour;
  ink.lineWidth = width;
  ink.stroke();
  ink.setLineDash([]);
}
