/** Confidence of the standing answer against time, as a small SVG. */

import { counted, line, seconds } from "./text.js";

const SPACE = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [320, 132, 32, 8, 10, 22];

function part(name, attributes, text) {
  const made = document.createElementNS(SPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

/** @param figure where it is drawn; @param answers as in a delta; @param total seconds in all; @param until a moment */
export function chart(figure, answers, total, until) {
  const end = Math.max(total, answers.at(-1)?.seconds ?? 0, 0.01);
  const x = (value) => LEFT + ((WIDTH - LEFT - RIGHT) * Math.min(value, end)) / end;
  const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value);
  const said = answers.length
    ? `Confidence over ${seconds(end)}: ${counted(answers.length, "answer")}, the last with ${answers.at(-1).confidence}`
    : "No answer yet";
  const picture = part("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": said });
  for (const value of [0, 0.5, 1]) {
    picture.append(part("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }));
    picture.append(part("text", { x: LEFT - 6, y: y(value) + 3.5, "text-anchor": "end" }, `${value * 100} %`));
  }
  picture.append(part("text", { x: LEFT, y: HEIGHT - 5 }, "0"));
  picture.append(part("text", { x: WIDTH - RIGHT, y: HEIGHT - 5, "text-anchor": "end" }, seconds(end)));
  if (answers.length) {
    let path = `M${x(answers[0].seconds)},${y(answers[0].confidence)}`;
    answers.slice(1).forEach((answer) => { path += `H${x(answer.seconds)}V${y(answer.confidence)}`; });
    picture.append(part("path", { class: "curve", d: `${path}H${x(end)}` }));
  }
  let before = null;
  for (const answer of answers.length > 400 ? answers.slice(-400) : answers) {
    if (answer.text === before && !answer.verified) continue;
    before = answer.text;
    const kind = answer.verified ? "dot proved" : "dot";
    const dot = part("circle", { class: kind, cx: x(answer.seconds), cy: y(answer.confidence), r: 3.5 });
    dot.append(part("title", {}, `${seconds(answer.seconds)}: ${line(answer.text, 80)}`));
    picture.append(dot);
  }
  if (Number.isFinite(until)) {
    picture.append(part("line", { class: "now", x1: x(until), x2: x(until), y1: TOP, y2: HEIGHT - BOTTOM }));
  }
  figure.replaceChildren(picture);
}
