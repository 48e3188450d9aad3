/** Where nodes stand: leaves in rows of their own, parents in the middle of their children, columns by depth. O(n). */

import { line } from "./text.js";

export const LABEL = 44;
const CHARACTER = 7.25;
const WIDEST = 300;
const ROOM = 58;

/**
 * Gives each shown node its `row` (from 0, may be a half) and `column` (pixels from the left at natural size).
 * Returns { nodes, rows, width }: the shown nodes, parents first.
 */
export function layout(model) {
  const nodes = [];
  if (!model.root) return { nodes, rows: 0, width: 0 };
  const widths = [];
  const stack = [model.root];
  let rows = 0;
  while (stack.length) {
    const node = stack.pop();
    const children = node.open ? model.shown(node) : [];
    node.kids = children;
    node.hidden = node.below - children.reduce((sum, child) => sum + child.below + 1, 0);
    node.row = children.length ? -1 : rows++;
    node.label ??= line(node.parent ? node.text || "(end)" : "problem", LABEL);
    node.labelWidth ??= labelWidth(node.label);
    const wanted = Math.min(node.labelWidth, WIDEST) + ROOM + (node.hidden ? 36 : 0);
    if (children.length) widths[node.depth] = Math.max(widths[node.depth] ?? 0, wanted);
    nodes.push(node);
    for (let i = children.length - 1; i >= 0; i -= 1) stack.push(children[i]);
  }
  for (let i = nodes.length - 1; i >= 0; i -= 1) {
    const { kids } = nodes[i];
    if (kids.length) nodes[i].row = (kids[0].row + kids.at(-1).row) / 2;
  }
  const columns = [0];
  for (const width of widths) columns.push(columns.at(-1) + width);
  let width = 0;
  for (const node of nodes) {
    node.column = columns[node.depth];
    if (!node.kids.length) width = Math.max(width, node.column + node.labelWidth + ROOM / 2);
  }
  return { nodes, rows, width };
}

function labelWidth(label) {
  let width = 0;
  for (const character of label) width += character.codePointAt(0) < 0x1100 ? CHARACTER : 2 * CHARACTER;
  return width;
}
