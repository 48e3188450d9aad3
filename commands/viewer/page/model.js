/** The tree as the page knows it: nodes, answers, what was spent. No drawing here. */

const FAILED = new Set(["dead", "refuted"]);

export class Model {
  constructor() {
    this.nodes = [];
    this.answers = [];
    this.spent = {};
    this.full = false;
    this.best = new Set();
    this.showFailed = true;
    this.until = Infinity;
  }

  get root() {
    return this.nodes[0];
  }

  /** Takes a delta (see commands/viewer/snapshot.py); returns the number of new nodes. */
  apply(delta) {
    for (const told of delta.nodes) {
      const parent = told.parent === null ? null : this.nodes[told.parent];
      const node = { ...told, parent, children: [], depth: parent ? parent.depth + 1 : 0, open: true, below: 0,
        limit: Infinity };
      this.nodes[node.id] = node;
      if (parent) parent.children.push(node);
      for (let up = parent; up; up = up.parent) up.below += 1;
    }
    for (const [id, prior, value, q, visits, solved, closed] of delta.changes) {
      Object.assign(this.nodes[id], { prior, value, q, visits, solved, closed });
    }
    this.answers.push(...delta.answers);
    this.spent = delta.spent;
    this.full = delta.full;
    if (delta.nodes.length || delta.answers.length) this.#findBest();
    return delta.nodes.length;
  }

  /** What a node's mark shows. */
  state(node) {
    if (!node.parent) return "root";
    if (node.outcome === "open" && node.closed) return "exhausted";
    return node.outcome;
  }

  /** The children that are shown where a node is open: all, or so many of those that were visited most. */
  shown(node) {
    const some = this.showFailed ? node.children : node.children.filter((child) => !FAILED.has(child.outcome));
    if (some.length <= node.limit) return some;
    const kept = new Set([...some].sort((a, b) => this.#weight(b) - this.#weight(a)).slice(0, node.limit));
    return some.filter((child) => kept.has(child));
  }

  /** Opens whatever hides a node; returns whether anything did. */
  reveal(node) {
    let hidden = false;
    for (let step = node; step.parent; step = step.parent) {
      const { parent } = step;
      if (parent.open && this.shown(parent).includes(step)) continue;
      [parent.open, parent.limit, hidden] = [true, Infinity, true];
    }
    return hidden;
  }

  /** Opens what is closed or shown in part, closes what is open. */
  toggle(node) {
    const whole = node.open && node.limit >= node.children.length;
    [node.open, node.limit] = [!whole, Infinity];
  }

  #weight(node) {
    return (this.best.has(node) ? 1e12 : 0) + (node.visits ?? 0) + node.below * 1e-6;
  }

  /** Was it there at the moment that is looked at? */
  there(node) {
    return node.seen <= this.until;
  }

  path(node) {
    const line = [];
    for (let step = node; step; step = step.parent) line.unshift(step);
    return line;
  }

  /** Nodes whose thought or answer holds a text, in the order in which they were seen. */
  find(text) {
    const wanted = text.trim().toLowerCase();
    if (!wanted) return [];
    const holds = (part) => typeof part === "string" && part.toLowerCase().includes(wanted);
    return this.nodes.filter((node) => holds(node.text) || holds(node.answer));
  }

  /** The answer that stood at the moment looked at. */
  get answer() {
    return this.answers.filter((answer) => answer.seconds <= this.until).at(-1);
  }

  openAll() {
    for (const node of this.nodes) [node.open, node.limit] = [true, Infinity];
  }

  /** Opens the best line, then what was visited most, until about so many rows are shown. */
  focus(rows) {
    for (const node of this.nodes) [node.open, node.limit] = [false, Math.max(4, Math.floor(rows / 3))];
    const waiting = this.root ? [this.root] : [];
    let shown = 1;
    while (waiting.length) {
      let at = 0;
      waiting.forEach((node, i) => { if (this.#weight(node) > this.#weight(waiting[at])) at = i; });
      const [node] = waiting.splice(at, 1);
      const more = this.shown(node);
      if (shown + more.length - 1 > rows && !this.best.has(node) && node.parent) continue;
      node.open = true;
      shown += Math.max(more.length - 1, 0);
      waiting.push(...more.filter((child) => child.children.length));
    }
  }

  #findBest() {
    this.best = new Set();
    const answer = this.answers.at(-1);
    if (!answer || !this.root) return;
    const follow = (node, depth) => {
      if (depth === answer.thoughts.length) return [node];
      for (const child of node.children) {
        if (child.text !== answer.thoughts[depth]) continue;
        const rest = follow(child, depth + 1);
        if (rest) return [node, ...rest];
      }
      return null;
    };
    this.best = new Set(follow(this.root, 0) ?? []);
  }
}
