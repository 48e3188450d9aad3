/** What the keyboard does. */

import { element } from "./text.js";

export const KEYS = [
  [["→"], "to the best visited thought below, opening the branch"],
  [["←"], "to the thought before"],
  [["↑", "↓"], "to the thought above and below in the column"],
  [["Home", "End"], "to the problem; to the end of the best line"],
  [["Enter"], "opens and closes a branch"],
  [["/"], "searches; Enter goes to the next one found"],
  [["f"], "fits the whole tree"],
  [["+", "-"], "zooms"],
  [["e", "c"], "expands all; collapses to the best lines"],
  [["d"], "shows and hides dead and refuted thoughts"],
  [["Space"], "replays the growth"],
  [["t"], "light, dark, or as the system is"],
  [["?"], "this help"],
];

export function listKeys(list) {
  for (const [names, text] of KEYS) {
    list.append(element("dt", "", ...names.map((name) => element("kbd", "", name))), element("dd", "", text));
  }
}

/** The node that an arrow leads to, or undefined. */
export function walk(key, node, model, shown) {
  if (key === "Home") return model.root;
  if (key === "End") return [...model.best].at(-1);
  if (key === "ArrowLeft") return node.parent ?? undefined;
  if (key === "ArrowRight") {
    const children = node.kids ?? [];
    return children.reduce((best, child) => {
      const better = !best || model.best.has(child) > model.best.has(best)
        || (model.best.has(child) === model.best.has(best) && (child.visits ?? -1) > (best.visits ?? -1));
      return better ? child : best;
    }, undefined);
  }
  const column = shown.filter((other) => other.depth === node.depth && model.there(other));
  return column[column.indexOf(node) + (key === "ArrowUp" ? -1 : 1)];
}

/** Calls `actions[key]` unless somebody types, or holds a modifier. */
export function listen(actions) {
  document.addEventListener("keydown", (event) => {
    const { target } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (target.matches("input, select, textarea") && !(event.key === "Escape")) return;
    if ((event.key === "Enter" || event.key === " ") && target.matches("button, a")) return;
    const action = actions[event.key];
    if (!action || (event.key === "Enter" && target.id !== "tree")) return;
    event.preventDefault();
    action(event.key);
  });
}
