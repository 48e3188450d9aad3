/** The page: puts the parts together. */

import { chart } from "./chart.js";
import { details } from "./details.js";
import { STATES, colours, sample } from "./glyphs.js";
import { listen, listKeys, walk } from "./keys.js";
import { Asking } from "./live.js";
import { Model } from "./model.js";
import { Replay } from "./replay.js";
import { count, counted, element, line, plain, seconds } from "./text.js";
import { View } from "./view.js";

const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const model = new Model();
const app = { about: data.about ?? {}, result: data.about?.result ?? null, thinking: false, auto: true, fitting: true };

const view = new View(byId("canvas"), byId("tree"), model, {
  select: (node) => select(node, false),
  toggle,
  moved: () => { app.fitting = false; },
  resized: () => { if (app.fitting && model.root) requestAnimationFrame(settle); },
});

const replay = new Replay(
  { box: byId("replay"), slider: byId("time"), button: byId("play"), output: byId("moment") },
  (moment) => {
    model.until = moment;
    view.redraw();
    showAnswer();
  },
);

/** Until somebody says otherwise, as much is open as can be read, and all of that is on the screen. */
function settle() {
  if (app.auto) {
    if (model.nodes.length > view.room) model.focus(view.room);
    else model.openAll();
  }
  view.relayout();
  if (app.fitting) view.fit();
}

function select(node, follow = true) {
  if (!node) return;
  if (model.reveal(node)) app.auto = false;
  if (!view.shown.nodes.includes(node)) view.relayout(view.selected);
  view.select(node, follow);
  showDetails();
  speak(node);
}

/** A screen reader is told of one node: where it stands and what it is. */
function speak(node) {
  const siblings = node.parent ? model.shown(node.parent) : [node];
  const item = element("div", "", `${line(node.text || app.about.problem || "", 200)}, ${STATES[model.state(node)].name}`);
  item.id = `item-${node.id}`;
  item.setAttribute("role", "treeitem");
  item.setAttribute("aria-level", node.depth + 1);
  item.setAttribute("aria-posinset", siblings.indexOf(node) + 1);
  item.setAttribute("aria-setsize", siblings.length);
  item.setAttribute("aria-selected", "true");
  if (node.children.length) item.setAttribute("aria-expanded", String(node.open));
  byId("spoken").replaceChildren(item);
  byId("tree").setAttribute("aria-activedescendant", item.id);
}

function toggle(node) {
  if (!node?.children.length) return;
  model.toggle(node);
  [app.auto, app.fitting] = [false, false];
  view.relayout(node);
  speak(node);
  showFacts();
}

function showDetails() {
  details(byId("details"), model, view.selected, view.palette, app.about.problem ?? "", select);
}

function showAnswer() {
  const answer = model.answer;
  const wrong = app.result && app.result.answer === null && !Number.isFinite(model.until) && answer;
  byId("answer").textContent = answer ? line(answer.text, 2000) : app.thinking ? "thinking …" : "no answer";
  byId("answer").className = `answer ${answer ? "" : "none"} ${answer?.verified ? "proved" : ""}`;
  byId("verdict").textContent = !answer ? "" : answer.verified ? "verified: proved without the reference"
    : wrong ? "known to be wrong" : `not verified, confidence ${(100 * answer.confidence).toFixed(0)} %`;
  chart(byId("chart"), model.answers, model.spent.seconds ?? 0, model.until);
}

function showFacts() {
  const { about } = app;
  byId("problem").textContent = line(about.problem ?? "Tree of thoughts", 400);
  byId("eyebrow").textContent = ["Tree of thoughts", about.domain, about.search].filter(Boolean).map(plain).join(" · ");
  const said = [
    counted(model.nodes.length, "node"), `${count(view.shown.nodes.length)} shown`,
    seconds(model.spent.seconds), counted(model.spent.tokens, "token"),
    counted(model.spent.simulations, "simulation"), about.budget && `budget ${plain(about.budget)}`,
    about.seed !== undefined && `seed ${about.seed}`, app.result?.policy && `policy ${plain(app.result.policy)}`,
    model.full && `only the first ${count(model.nodes.length)} nodes are kept`,
  ];
  byId("facts").textContent = model.root ? said.filter(Boolean).join(" · ") : "";
  byId("empty").hidden = Boolean(model.root);
  byId("replay").hidden = !model.root;
  document.title = about.problem ? `${line(about.problem, 60)} · tree of thoughts` : "Tree of thoughts";
}

function showAll() {
  replay.span(model.spent.seconds ?? 0);
  showFacts();
  showAnswer();
  if (view.selected || !app.thinking) showDetails();
}

function repaint() {
  view.palette = colours();
  byId("legend").replaceChildren(...Object.entries(STATES).map(([state, { name, text }]) => {
    const item = element("li", "", sample(state, view.palette), name);
    item.title = text;
    return item;
  }), element("li", "", element("span", "stroke best"), "best line"),
  element("li", "", element("span", "stroke dashed"), "greedy and independent lines"));
  view.redraw();
  showDetails();
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  byId("theme").title = `Colour theme: ${theme} (t)`;
  repaint();
}

const nextTheme = () => {
  const themes = ["auto", "light", "dark"];
  setTheme(themes[(themes.indexOf(document.documentElement.dataset.theme) + 1) % themes.length]);
};

function openAll() {
  app.auto = false;
  model.openAll();
  view.relayout();
  fit();
}

function closeAll() {
  [app.auto, app.fitting] = [true, true];
  settle();
  showFacts();
}

function fit() {
  app.fitting = true;
  view.fit();
  showFacts();
}

function toggleFailed() {
  model.showFailed = !model.showFailed;
  byId("dead").setAttribute("aria-pressed", String(model.showFailed));
  if (app.auto) settle();
  else view.relayout(view.selected);
  showFacts();
}

let found = [];
let nth = -1;
function searchFor(text) {
  found = model.find(text);
  nth = -1;
  view.found = new Set(found);
  byId("found").textContent = text.trim() ? `${count(found.length)} found` : "";
  view.redraw();
}

function nextFound(by) {
  if (!found.length) return;
  nth = (nth + by + found.length) % found.length;
  byId("found").textContent = `${count(nth + 1)} of ${count(found.length)}`;
  select(found[nth]);
}

function wire() {
  const clicks = { "open-all": openAll, "close-all": closeAll, dead: toggleFailed, fit, theme: nextTheme,
    help: () => byId("keys").showModal(), "zoom-in": () => view.zoom(1.4), "zoom-out": () => view.zoom(1 / 1.4) };
  for (const [id, action] of Object.entries(clicks)) byId(id).addEventListener("click", action);
  byId("search").addEventListener("input", (event) => searchFor(event.target.value));
  byId("search").addEventListener("keydown", (event) => {
    if (event.key === "Enter") nextFound(event.shiftKey ? -1 : 1);
    if (event.key === "Escape") byId("tree").focus();
  });
  byId("tree").addEventListener("focus", () => { if (!view.selected && model.root) select(model.root, false); });
  byId("canvas").addEventListener("pointerdown", () => byId("tree").focus({ preventScroll: true }));
  const arrow = (key) => {
    const node = view.selected ?? model.root;
    if (!node) return;
    if (key === "ArrowRight" && !node.open) toggle(node);
    select(walk(key, node, model, view.shown.nodes));
  };
  const arrows = ["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "Home", "End"].map((key) => [key, arrow]);
  listen({ ...Object.fromEntries(arrows), Enter: () => toggle(view.selected), "/": () => byId("search").focus(),
    "?": clicks.help, f: fit, e: openAll, c: closeAll, d: toggleFailed, t: nextTheme, " ": () => replay.toggle(),
    "+": clicks["zoom-in"], "=": clicks["zoom-in"], "-": clicks["zoom-out"] });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  listKeys(byId("keys-list"));
}

function goLive(offer) {
  const trouble = (text) => {
    byId("trouble").textContent = text;
    byId("trouble").hidden = !text;
  };
  new Asking(byId("ask"), offer, {
    begin(problem, search, budget, seed) {
      trouble("");
      replay.end();
      Object.assign(model, new Model(), { showFailed: model.showFailed });
      Object.assign(app, { about: { problem, search, budget, seed }, result: null, thinking: true, auto: true,
        fitting: true });
      view.selected = null;
      searchFor(byId("search").value);
      view.relayout();
      showAll();
    },
    message(told) {
      if (told.type === "begin") app.about = { ...app.about, ...told.about };
      if (told.type === "error") trouble(line(told.message, 400));
      if (told.type === "end") app.result = told.result;
      if (told.type === "delta" && model.apply(told) && (app.auto || app.fitting)) settle();
      else if (told.type === "delta") view.relayout(view.selected ?? model.root);
      showAll();
    },
    end() {
      app.thinking = false;
      showAll();
    },
    fail: trouble,
  });
}

wire();
repaint();
if (data.tree) model.apply(data.tree);
if (data.tree && model.root) settle();
if (data.offer) goLive(data.offer);
showAll();
document.documentElement.dataset.ready = "true";
export const viewer = { model, view, app };
window.viewer = viewer;
