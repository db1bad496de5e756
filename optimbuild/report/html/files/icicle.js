// The modules as an icicle by size: what is drawn, its colours and legend, and how one moves in it.

const LEVELS = 5, SMALLEST = 1 / 600, MOST_BELOW = 60;

/** By name, the quantities that colour the modules: the value at a node, its text, and its legend. */
const QUANTITIES = {
  lr: {
    label: "Learning rate",
    of: (totals, node) => (totals.withLr[node] ? Math.exp(totals.logLr[node] / totals.withLr[node]) : null),
    text: (plan, totals, node) => rangeText(plan, "lr", totals.lowLr[node], totals.highLr[node]),
    logarithmic: true,
    hint: "a module has the mean of its parameters",
  },
  decay: {
    label: "Weight decay",
    of: (totals, node) => (totals.trained[node] && totals.lowDecay[node] < Infinity ? totals.decay[node] / totals.trained[node] : null),
    text: (plan, totals, node) => rangeText(plan, "weight_decay", totals.lowDecay[node], totals.highDecay[node]),
    hint: "a module has the mean of its parameters",
  },
  optimizer: {label: "Optimizer", named: true, text: (plan, totals, node) => optimizerText(plan, totals.optimizer[node])},
  frozen: {
    label: "Frozen",
    of: (totals, node) => (totals.numel[node] ? 1 - totals.trained[node] / totals.numel[node] : null),
    text: (plan, totals, node) => shareText(1 - totals.trained[node] / totals.numel[node]),
    bounds: [0, 1],
    show: (value) => `${Math.round(100 * value)} %`,
    hint: "the share of a module that is frozen",
  },
  memory: {
    label: "Memory",
    of: (totals, node) => (totals.numel[node] ? totals.bytes[node] / totals.numel[node] : null),
    text: (plan, totals, node) => `${bytesText(totals.bytes[node])} with gradients and state`,
    show: (value) => `${shortText(value)} B`,
    hint: "bytes per parameter, with its gradient and the optimizer's state",
  },
};

function rangeText(plan, key, low, high) {
  if (low > high) return "none";
  const texts = [plan.optionText(key, low), plan.optionText(key, high)];
  return low === high ? texts[0] : texts.join(" … ");
}

const optimizerText = (plan, index) => ({[SEVERAL]: "several", [FROZEN]: "frozen", [ABSENT]: "absent"})[index] ?? plan.optimizers[index];
const shareText = (share) => (share === 0 ? "trained" : share === 1 ? "frozen" : `${(100 * share).toFixed(1)} % frozen`);

class Icicle {
  /**
   * @param report The report: names, plans and trees.
   * @param opened Called with the number of a node whose steps are asked for.
   */
  constructor(report, opened) {
    Object.assign(this, {...report, opened, root: 0, at: 0, quantity: "lr", scales: {}});
    this.totals = report.totals.modules;
    this.tree = report.trees.modules;
    this.box = byId("icicle");
    const labels = Object.entries(QUANTITIES).map(([name, {label}]) => [name, label]);
    choices(byId("colour"), Object.fromEntries(labels), "lr", (name) => this.colourBy(name));
    this.box.addEventListener("keydown", (event) => this.key(event));
    byId("explain-here").addEventListener("click", () => this.opened(this.at));
    byId("find-here").addEventListener("click", () => this.found(this.at));
  }

  colourBy(quantity) {
    this.quantity = quantity;
    this.draw();
  }

  zoom(node) {
    this.root = this.tree.children[node] ? node : this.tree.parent[node];
    this.at = node;
    this.draw();
  }

  /** Return the nodes to draw: some levels below the root, small ones merged into one. */
  shown() {
    const found = [{id: "0", node: this.root, parent: "", label: this.name(this.root)}];
    const whole = this.size(this.root) || 1;
    const below = (node, id, level) => {
      const children = this.tree.children[node] ?? [], drawn = [], small = [];
      for (const child of children) (this.size(child) / whole >= SMALLEST && drawn.length < MOST_BELOW ? drawn : small).push(child);
      if (small.length === 1) drawn.push(small.pop());
      for (const child of drawn.sort((a, b) => a - b)) {
        found.push({id: String(child), node: child, parent: id, label: this.tree.label[child]});
        if (level < LEVELS) below(child, String(child), level + 1);
      }
      if (small.length) found.push({id: `${node}+`, node, parent: id, label: `${small.length} small`, small});
    };
    below(this.root, "0", 1);
    return found;
  }

  size(node) {
    return Math.max(...this.totals.map((totals) => totals.numel[node]));
  }

  name(node) {
    return node ? this.tree.path(node).map((at) => this.tree.label[at]).join(".") : this.plans[0].data.model || "model";
  }

  /** Return the scale of colours from the lowest to the highest parameter of all plans; none for names. */
  scale() {
    const {of, bounds, logarithmic} = QUANTITIES[this.quantity];
    if (!of || this.scales[this.quantity]) return this.scales[this.quantity] ?? null;
    const leaves = this.totals.flatMap((totals) => Array.from(this.tree.param, (param, node) => (param < 0 ? null : of(totals, node))));
    let [low, high] = bounds ?? [Infinity, -Infinity];
    if (!bounds) for (const value of leaves) if (value !== null && (value > 0 || !logarithmic)) [low, high] = [Math.min(low, value), Math.max(high, value)];
    return (this.scales[this.quantity] = new Scale(low, high, logarithmic));
  }

  colour(totals, scale, node, idle) {
    if (scale) {
      if (totals.trained[node] === 0 && this.quantity !== "frozen" && this.quantity !== "memory") return idle;
      return scale.colour(QUANTITIES[this.quantity].of(totals, node)) ?? idle;
    }
    return totals.optimizer[node] < 0 ? idle : NAMED[totals.optimizer[node] % NAMED.length];
  }

  draw() {
    const nodes = this.shown(), scale = this.scale(), {card, idle, accent, text} = theme();
    const narrow = this.box.clientWidth < 600, count = this.plans.length;
    const room = narrow ? 45 : 70 / count;
    const marked = (node, small) => node === this.at && node !== this.root && !small;
    const share = (i) => [i / count + (i ? 0.01 : 0), (i + 1) / count - (i < count - 1 ? 0.01 : 0)];
    const traces = this.plans.map((plan, i) => ({
      type: "icicle", branchvalues: "remainder", sort: false, ids: nodes.map(({id}) => id), labels: nodes.map(({label}) => escaped(label)),
      parents: nodes.map(({parent}) => parent), values: this.values(nodes, this.totals[i]),
      customdata: nodes.map(({node}) => node), tiling: {orientation: narrow ? "h" : "v", pad: 1}, pathbar: {visible: false},
      domain: narrow ? {y: share(count - 1 - i)} : {x: share(i)},
      hovertemplate: "%{hovertext}<extra></extra>", hovertext: nodes.map(({node, small}) => this.hover(i, node, small)),
      textinfo: "text", text: nodes.map(({node, small, label}) => (this.sizeOf(this.totals[i], node, small) * room >= this.totals[i].numel[this.root] ? escaped(label) : "")),
      marker: {colors: nodes.map(({node}) => this.colour(this.totals[i], scale, node, idle)),
        line: {color: nodes.map(({node, small}) => (marked(node, small) ? text : card)), width: nodes.map(({node, small}) => (marked(node, small) ? 3 : 1))}},
      root: {color: idle}, leaf: {opacity: 1},
    }));
    const height = (narrow ? 460 : 340) * (narrow ? count : 1);
    Plotly.react(this.box, traces, layout({height, uniformtext: {minsize: 9, mode: "hide"}, hoverlabel: {bgcolor: card, bordercolor: accent, font: {color: text}, align: "left"}}), CONFIG).then(() => {
      if (this.listening) return;
      this.listening = true;
      this.box.on("plotly_icicleclick", ({points: [point]}) => {
        this.click(point.customdata, point.id);
        return false;
      });
    });
    this.legend(scale);
    this.crumbs();
  }

  /** Return what each node has beyond the nodes drawn below it, which plotly adds up. */
  values(nodes, totals) {
    const left = new Map(nodes.map(({id, node, small}) => [id, this.sizeOf(totals, node, small)]));
    for (const {parent, node, small} of nodes) if (parent) left.set(parent, left.get(parent) - this.sizeOf(totals, node, small));
    return nodes.map(({id}) => left.get(id));
  }

  sizeOf(totals, node, small) {
    return small ? small.reduce((sum, at) => sum + totals.numel[at], 0) : totals.numel[node];
  }

  hover(i, node, small) {
    if (small) return escaped(`${small.length} small ones of ${this.name(node)}`);
    return this.lines(i, node).map(escaped).join("<br>");
  }

  lines(i, node) {
    const plan = this.plans[i], totals = this.totals[i], {label, text} = QUANTITIES[this.quantity];
    const title = this.plans.length > 1 ? ` (${LETTERS[i]})` : "";
    return [this.name(node) + title, `${countText(totals.numel[node])} parameters in ${counted(totals.tensors[node], "tensor")}`,
      `${label}: ${text(plan, totals, node)}`];
  }

  click(node, id) {
    if (String(id).endsWith("+")) return;
    this.at = node;
    if (this.tree.param[node] >= 0) this.opened(node);
    else if (node !== this.root) return this.zoom(node);
    else if (node) return this.zoom(this.tree.parent[node]);
    this.draw();
  }

  key(event) {
    const siblings = this.tree.children[this.tree.parent[this.at]] ?? [this.at], place = siblings.indexOf(this.at);
    const first = (this.tree.children[this.at] ?? [this.at])[0];
    const move = {
      ArrowDown: () => first, ArrowUp: () => Math.max(this.tree.parent[this.at], 0),
      ArrowLeft: () => siblings[place - 1] ?? this.at, ArrowRight: () => siblings[place + 1] ?? this.at, Home: () => 0,
    }[event.key];
    if (move) this.moveTo(move());
    else if (event.key === "Enter") this.tree.param[this.at] < 0 ? this.zoom(this.at) : this.opened(this.at);
    else if (event.key === "Backspace") this.zoom(Math.max(this.tree.parent[this.root], 0));
    else if (event.key.toLowerCase() === "e") this.opened(this.at);
    else return;
    event.preventDefault();
  }

  /** Go to a node; where it is not below the root, zoom out until it is. */
  moveTo(node) {
    this.at = node;
    while (this.root && !this.tree.path(node).includes(this.root)) this.root = this.tree.parent[this.root];
    const depth = this.tree.path(node).length - this.tree.path(this.root).length;
    if (depth > LEVELS) this.root = this.tree.parent[node];
    this.draw();
  }

  crumbs() {
    const steps = [0, ...this.tree.path(this.root)];
    byId("path").replaceChildren(...steps.flatMap((node, i) => {
      const label = node ? this.tree.label[node] : this.name(0);
      const last = i === steps.length - 1;
      const button = element("button", {type: "button", "aria-current": last ? "location" : null, onclick: () => this.zoom(node)}, label);
      return last ? [button] : [button, element("span", {"aria-hidden": "true"}, "›")];
    }));
    byId("here").replaceChildren(...this.plans.flatMap((_, i) => {
      const [name, ...facts] = this.lines(i, this.at);
      return [element("span", {}, element("code", {}, name), ` ${facts.join(" · ")}`)];
    }));
  }

  legend(scale) {
    const {hint, show, named} = QUANTITIES[this.quantity], {idle} = theme();
    const swatch = (colour, label) => element("span", {class: "swatch"}, element("i", {style: `background: ${colour}`}), label);
    const frozen = this.totals.some((totals) => totals.trained[0] < totals.numel[0]);
    const rest = frozen && this.quantity !== "frozen" && this.quantity !== "memory" ? [swatch(idle, "frozen")] : [];
    if (named) {
      const names = [...new Set(this.plans.flatMap((plan) => plan.optimizers))];
      byId("legend").replaceChildren(...names.map((name, i) => swatch(NAMED[i % NAMED.length], name)),
        ...(names.length > 1 ? [swatch(idle, "several, or frozen")] : rest));
      return;
    }
    const text = show ?? shortText;
    const same = !(scale.high > scale.low);
    const stops = Array.from({length: 9}, (_, i) => ramp(i / 8)).join(", ");
    const bar = same ? [swatch(ramp(1), Number.isFinite(scale.low) ? text(scale.low) : "none")]
      : [element("span", {}, text(scale.low)), element("i", {class: "ramp", style: `background: linear-gradient(to right, ${stops})`}), element("span", {}, text(scale.high))];
    byId("legend").replaceChildren(...bar, ...rest, element("span", {class: "hint"}, hint));
  }
}

/** Return a text as plotly shows it literally: it reads a few tags and entities, which a name must not become. */
const escaped = (text) => text.replace(/[&<>]/g, (letter) => ({"&": "&amp;", "<": "&lt;", ">": "&gt;"})[letter]);
