/** The moment that is looked at: a slider over the time of the search, and playing it. */

import { seconds } from "./text.js";

const LONGEST = 6000;
const STEPS = 1000;

export class Replay {
  /** @param parts { box, slider, button, output }; @param change is called with the moment, Infinity at the end */
  constructor(parts, change) {
    Object.assign(this, parts, { change, total: 0 });
    this.slider.addEventListener("input", () => {
      this.stop();
      this.#show(Number(this.slider.value) / STEPS);
    });
    this.button.addEventListener("click", () => this.toggle());
  }

  /** The search took so many seconds (so far). */
  span(total) {
    this.total = total;
    if (!this.playing && Number(this.slider.value) === STEPS) this.output.textContent = seconds(total);
  }

  toggle() {
    if (this.playing) this.stop();
    else this.#play();
  }

  stop() {
    cancelAnimationFrame(this.playing);
    this.playing = null;
    this.#face("▶", "Play the growth of the tree");
  }

  end() {
    this.stop();
    this.#show(1);
  }

  #play() {
    const from = Number(this.slider.value) >= STEPS ? 0 : Number(this.slider.value) / STEPS;
    const time = Math.min(Math.max(this.total * 1000, 1500), LONGEST);
    const started = performance.now() - from * time;
    this.#face("❚❚", "Pause");
    const step = (now) => {
      const part = Math.min(Math.max((now - started) / time, 0), 1);
      this.#show(part);
      if (part < 1) this.playing = requestAnimationFrame(step);
      else this.stop();
    };
    this.playing = requestAnimationFrame(step);
  }

  #face(sign, name) {
    this.button.textContent = sign;
    this.button.setAttribute("aria-label", name);
  }

  #show(part) {
    this.slider.value = Math.round(part * STEPS);
    const moment = part * this.total;
    this.output.textContent = seconds(moment);
    this.slider.setAttribute("aria-valuetext", seconds(moment));
    this.change(part >= 1 ? Infinity : moment);
  }
}
