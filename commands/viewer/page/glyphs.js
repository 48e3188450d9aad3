/** The marks: each outcome has a shape of its own beside its colour. */

export const STATES = {
  root: { name: "problem", text: "The problem." },
  open: { name: "open", text: "The line goes on." },
  exhausted: { name: "exhausted", text: "Every thought that was sampled from here has ended." },
  dead: { name: "dead", text: "Illegal, blank, cut off, or too deep: nothing can come of it." },
  refuted: { name: "refuted", text: "Finished, and its answer is known to be wrong." },
  finished: { name: "finished", text: "Finished; nothing short of the reference can tell whether it is right." },
  proved: { name: "proved", text: "Finished, and proved correct without the reference." },
};
const NAMES = [...Object.keys(STATES), "ink", "faint", "rule", "paper", "accent", "best", "halo"];

/** The page's colours as the canvas needs them: resolved for the theme of this moment. */
export function colours() {
  const probe = document.createElement("span");
  document.body.append(probe);
  const found = {};
  for (const name of NAMES) {
    probe.style.color = `var(--${name})`;
    found[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  return found;
}

/** Draws the mark of a state around (x, y). */
export function mark(ink, state, x, y, r, palette) {
  ink.fillStyle = ink.strokeStyle = palette[state];
  ink.lineWidth = Math.max(1, Math.min(2, r / 2.4));
  ink.beginPath();
  if (state === "dead") {
    cross(ink, x, y, r * 0.72);
    ink.stroke();
  } else if (state === "refuted") {
    ink.rect(x - r * 0.9, y - r * 0.9, 1.8 * r, 1.8 * r);
    cross(ink, x, y, r * 0.9);
    ink.stroke();
  } else if (state === "exhausted") {
    ink.arc(x, y, r * 0.85, 0, 2 * Math.PI);
    ink.moveTo(x - r * 0.85, y);
    ink.lineTo(x + r * 0.85, y);
    ink.stroke();
  } else if (state === "finished") {
    polygon(ink, x, y, [[0, -1.25], [1.25, 0], [0, 1.25], [-1.25, 0]], r);
    ink.fill();
  } else if (state === "proved") {
    polygon(ink, x, y, STAR, r * 1.5);
    ink.fill();
  } else if (state === "root") {
    ink.arc(x, y, r, 0, 2 * Math.PI);
    ink.stroke();
    ink.beginPath();
    ink.arc(x, y, r * 0.4, 0, 2 * Math.PI);
    ink.fill();
  } else {
    ink.arc(x, y, r, 0, 2 * Math.PI);
    ink.fill();
  }
}

const STAR = Array.from({ length: 10 }, (_, i) => {
  const far = i % 2 ? 0.45 : 1;
  return [far * Math.sin((i * Math.PI) / 5), -far * Math.cos((i * Math.PI) / 5)];
});

function polygon(ink, x, y, points, r) {
  points.forEach(([dx, dy], i) => (i ? ink.lineTo(x + dx * r, y + dy * r) : ink.moveTo(x + dx * r, y + dy * r)));
  ink.closePath();
}

function cross(ink, x, y, r) {
  ink.moveTo(x - r, y - r);
  ink.lineTo(x + r, y + r);
  ink.moveTo(x + r, y - r);
  ink.lineTo(x - r, y + r);
}

/** A small canvas with one mark, for the legend. */
export function sample(state, palette) {
  const canvas = document.createElement("canvas");
  const ratio = window.devicePixelRatio || 1;
  canvas.width = canvas.height = 18 * ratio;
  const ink = canvas.getContext("2d");
  ink.scale(ratio, ratio);
  mark(ink, state, 9, 9, 5, palette);
  canvas.className = "sample";
  canvas.setAttribute("aria-hidden", "true");
  return canvas;
}
