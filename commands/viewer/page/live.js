/** Asking a server to think, and reading what it streams: one JSON object a line. */

import { element, line } from "./text.js";

const SHORTEST = 0.5;

export class Asking {
  /** @param offer what can be asked for; @param on begin(), message(object), end() and fail(text) */
  constructor(form, offer, on) {
    Object.assign(this, { form, offer, on, abort: null });
    const byId = (id) => document.getElementById(id);
    this.fields = Object.fromEntries(["problem", "domain", "search", "budget", "seed", "key"]
      .map((name) => [name, byId(`ask-${name}`)]));
    this.shown = byId("ask-budget-shown");
    this.buttons = [byId("think"), byId("stop")];
    this.#fill();
    form.hidden = false;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.think();
    });
    this.buttons[1].addEventListener("click", () => this.stop());
    this.fields.budget.addEventListener("input", () => this.#showBudget());
  }

  /** Seconds on the slider: from half a second to the longest, each step being so many percent. */
  get budget() {
    const { longest } = this.offer;
    const exact = SHORTEST * (longest / SHORTEST) ** (Number(this.fields.budget.value) / 100);
    return Math.min(exact < 10 ? Math.round(exact * 10) / 10 : Math.round(exact), longest);
  }

  async think() {
    this.stop();
    const { problem, domain, search, seed, key } = this.fields;
    const abort = new AbortController();
    this.abort = abort;
    this.#running(true);
    this.on.begin(problem.value, search.value, `${this.budget}s`, Number(seed.value));
    try {
      const answer = await fetch(this.offer.think, {
        method: "POST", signal: abort.signal, credentials: "same-origin",
        headers: { "Content-Type": "application/json", ...(key.value ? { Authorization: `Bearer ${key.value}` } : {}) },
        body: JSON.stringify({ problem: problem.value, search: search.value, budget: `${this.budget}s`,
          seed: Number(seed.value), ...(domain.value ? { domain: domain.value } : {}) }),
      });
      if (!answer.ok) throw new Error(await reason(answer));
      for await (const message of lines(answer.body)) if (this.abort === abort) this.on.message(message);
    } catch (error) {
      if (error.name !== "AbortError") this.on.fail(error.message);
    }
    if (this.abort === abort) {
      this.abort = null;
      this.#running(false);
      this.on.end();
    }
  }

  /** Leaves; the server ends the thinking when nobody listens. */
  stop() {
    this.abort?.abort();
  }

  #running(yes) {
    const [think, stop] = this.buttons;
    if (!yes && document.activeElement === stop) think.focus();
    stop.hidden = !yes;
    think.textContent = yes ? "Again" : "Think";
  }

  #fill() {
    const { domain, search, budget } = this.fields;
    domain.append(option("", "found by reading"), ...Object.keys(this.offer.domains).map((name) => option(name, name)));
    search.append(...this.offer.searchers.map((name) => option(name, name)));
    search.value = this.offer.search;
    budget.value = Math.round((100 * Math.log(5 / SHORTEST)) / Math.log(this.offer.longest / SHORTEST));
    this.#showBudget();
  }

  #showBudget() {
    this.shown.textContent = `${this.budget} s`;
    this.fields.budget.setAttribute("aria-valuetext", `${this.budget} seconds`);
  }
}

function option(value, text) {
  const made = element("option", "", text);
  made.value = value;
  return made;
}

/** Why a server refused, as it says itself. */
async function reason(answer) {
  const text = await answer.text();
  try {
    const told = JSON.parse(text);
    const said = told.error?.message ?? told.error ?? told.detail;
    if (typeof said === "string") return line(said, 400);
  } catch {
    // not JSON: the status has to do
  }
  return answer.status === 401 ? "the server wants a key" : `the server answered with ${answer.status}`;
}

async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) if (part) yield JSON.parse(part);
  }
}
