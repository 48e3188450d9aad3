/** The panel about one thought. */

import { STATES, sample } from "./glyphs.js";
import { count, counted, element, line, plain, seconds } from "./text.js";

const KINDS = { thought: "thought of the tree", greedy: "greedy line (System 1)", chain: "independent line" };

function share(value) {
  return typeof value === "number" ? `${(100 * value).toFixed(1)} %` : null;
}

function facts(model, node) {
  const held = node.logprob === undefined || node.logprob === null ? null : node.logprob.toFixed(3).replace(/^-(0\.0+)$/, "$1");
  return [
    ["Visits", node.visits === undefined ? null : count(node.visits)],
    ["Search's estimate q", node.visits === undefined ? null : share(node.q)],
    ["Policy's value", share(node.value)],
    ["Prior", node.parent ? share(node.prior) : null],
    ["Log-probability", held === null ? null : `${held} nats`],
    ["Below it", node.below ? counted(node.below, "thought") : null],
    ["Kind", node.parent ? KINDS[node.kind] : null],
    ["Seen after", node.parent ? seconds(node.seen) : null],
  ].filter(([, value]) => value !== null && value !== "");
}

function titleOf(node, problem) {
  if (!node.parent) return plain(problem);
  return node.text === "" ? "(the policy ended its text here)" : plain(node.text);
}

/** @param choose is called with a node of the path that is clicked */
export function details(box, model, node, palette, problem, choose) {
  if (!node) {
    box.replaceChildren(element("p", "hint", "Choose a thought in the tree: click it, or walk with the arrow keys."));
    return;
  }
  const state = model.state(node);
  const head = element("p", `state is-${state}`, sample(state, palette), STATES[state].name);
  if (model.best.has(node)) head.append(element("span", "tag", "on the best line"));
  else if (node.solved) head.append(element("span", "tag", "leads to a proof"));
  const text = element("pre", "thought", titleOf(node, problem));
  const parts = [head, text];
  if (node.length) {
    parts.push(element("p", "hint", `The first ${count(node.text.length)} of ${count(node.length)} characters.`));
  }
  if (typeof node.answer === "string") {
    parts.push(element("p", "concludes", "Answer ", element("code", "", plain(node.answer))));
  }
  parts.push(element("p", "hint", STATES[state].text));
  const list = element("dl", "facts-list");
  for (const [name, value] of facts(model, node)) list.append(element("dt", "", name), element("dd", "", value));
  parts.push(list, element("h3", "", "From the problem"), trail(model, node, problem, choose));
  box.replaceChildren(...parts);
}

function trail(model, node, problem, choose) {
  const steps = element("ol", "trail");
  for (const step of model.path(node)) {
    const title = line(step.parent ? step.text || "(end)" : problem, 120);
    const button = element("button", step === node ? "here" : "", title);
    button.type = "button";
    button.addEventListener("click", () => choose(step));
    steps.append(element("li", "", button));
  }
  return steps;
}
