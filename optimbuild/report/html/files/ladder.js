// The ladder: learning rate and weight decay over depth, one mark for each group and layer.

const MOST_MARKS = 4000;

/** Return the marks of a plan: one for each group and layer, with its size. */
function marksOf(plan, names) {
  const found = new Map();
  names.forEach((name, param) => {
    if (!plan.has(param) || plan.depth(param) < 0) return;
    const group = plan.group(param), depth = plan.depth(param), key = `${depth} ${group}`;
    const mark = found.get(key) ?? {depth, group, tensors: 0, numel: 0, first: name};
    mark.tensors += 1;
    mark.numel += plan.numel(param);
    found.set(key, mark);
  });
  return [...found.values()].sort((a, b) => b.numel - a.numel).slice(0, MOST_MARKS);
}

class Ladder {
  constructor({names, plans}, picked) {
    Object.assign(this, {plans, picked, box: byId("ladder")});
    this.marks = plans.map((plan) => marksOf(plan, names));
    const trained = (mark, plan) => mark.group >= 0 && typeof plan.data.groups[mark.group].options.lr === "number";
    this.trained = this.marks.map((marks, i) => marks.filter((mark) => trained(mark, plans[i])));
    this.frozen = this.marks.map((marks) => marks.filter((mark) => mark.group === FROZEN));
  }

  draw() {
    const {first, second, text, card} = theme(), colours = [first, second];
    const traces = this.plans.flatMap((plan, i) => this.traces(plan, i, colours[i], card));
    const layers = this.plans[0].data.depth, narrow = this.box.clientWidth < 600;
    const axes = {
      xaxis: {title: {text: layers ? "layer, from the input" : "parameter, in the order of the model"}, anchor: "y2"},
      yaxis: {type: "log", domain: [0.36, 1], title: {text: "lr"}, exponentformat: "power", dtick: this.decades() > 1 ? 1 : undefined},
      yaxis2: {domain: [0, 0.24], title: {text: "decay"}, rangemode: "tozero", nticks: 4},
    };
    const margin = {l: 56, r: 8, t: 8, b: 44};
    const legend = {orientation: "h", y: 1.02, yanchor: "bottom", x: 0, font: {color: text}};
    Plotly.react(this.box, traces, layout({height: narrow ? 360 : 380, margin: {...margin, t: 36}, legend, hovermode: "closest", ...axes}), CONFIG).then(() => {
      if (this.listening) return;
      this.listening = true;
      this.box.on("plotly_click", ({points: [point]}) => point.customdata !== undefined && this.picked(point.customdata[0], point.customdata[1]));
    });
    this.describe(layers);
  }

  decades() {
    const rates = this.trained.flatMap((marks, i) => marks.map((mark) => this.plans[i].data.groups[mark.group].options.lr)).filter((lr) => lr > 0);
    return rates.length ? Math.log10(Math.max(...rates) / Math.min(...rates)) : 0;
  }

  traces(plan, i, colour, card) {
    const options = (mark) => plan.data.groups[mark.group].options;
    const title = this.plans.length > 1 ? `${LETTERS[i]}: ` : "";
    const series = [
      ["decayed", (mark) => options(mark).weight_decay > 0, {color: colour, line: {color: card, width: 1}}],
      ["no weight decay", (mark) => !(options(mark).weight_decay > 0), {color: card, line: {color: colour, width: 2}}],
    ];
    const found = series.flatMap(([name, fits, marker]) => {
      const marks = this.trained[i].filter(fits);
      if (!marks.length) return [];
      const shared = {type: "scatter", mode: "markers", x: marks.map(({depth}) => depth), customdata: marks.map((mark) => [i, mark.group]),
        text: marks.map((mark) => this.hover(plan, mark)), hovertemplate: "%{text}<extra></extra>", name: escaped(title + name),
        marker: {...marker, symbol: i ? "diamond" : "circle", size: marks.map(({numel}) => 6 + 1.1 * Math.log10(1 + numel))}};
      return [{...shared, y: marks.map((mark) => options(mark).lr)},
        {...shared, y: marks.map((mark) => options(mark).weight_decay ?? 0), yaxis: "y2", showlegend: false}];
    });
    return [this.line(plan, i, colour), ...found];
  }

  /** Return the highest LR of each layer as a step line. */
  line(plan, i, colour) {
    const highest = new Map();
    for (const mark of this.trained[i]) {
      const lr = plan.data.groups[mark.group].options.lr;
      highest.set(mark.depth, Math.max(highest.get(mark.depth) ?? 0, lr));
    }
    const steps = [...highest].sort(([a], [b]) => a - b);
    return {type: "scatter", mode: "lines", x: steps.map(([depth]) => depth), y: steps.map(([, lr]) => lr), line: {shape: "hvh", color: colour, width: 1.5},
      opacity: 0.5, hoverinfo: "skip", showlegend: false};
  }

  hover(plan, mark) {
    const {lr, weight_decay: decay} = plan.data.groups[mark.group].options;
    const lines = [`group ${mark.group}, ${plan.data.groups[mark.group].logged}, layer ${mark.depth}`, `lr ${plan.optionText("lr", lr)}, weight decay ${valueText(decay ?? 0)}`,
      `${counted(mark.tensors, "tensor")}, ${countText(mark.numel)} parameters`, mark.first + (mark.tensors > 1 ? ", …" : "")];
    return lines.map(escaped).join("<br>");
  }

  describe(layers) {
    const rates = this.trained.map((marks, i) => marks.map((mark) => this.plans[i].data.groups[mark.group].options.lr));
    const spans = rates.map((found, i) => (found.length ? `${this.plans.length > 1 ? `${LETTERS[i]}: ` : ""}lr from ${shortText(Math.min(...found))} to ${shortText(Math.max(...found))}` : ""));
    this.box.setAttribute("aria-label", `Learning rate and weight decay over depth. ${spans.join(". ")}. The table has every value.`);
    const frozen = this.frozen.map((marks) => marks.reduce((sum, {tensors}) => sum + tensors, 0)).filter(Boolean);
    const unplaced = this.plans.map((plan) => plan.depths.of.filter((layer) => layer < 0).length).filter(Boolean);
    byId("ladder-note").textContent = [
      layers ? `Layers from ${layers.source}.` : "The names show no layers, so parameters are in the order of the model.",
      frozen.length ? `${frozen.map((count) => counted(count, "frozen tensor")).join(" and ")} not shown.` : "",
      unplaced.length ? `${unplaced.map((count) => counted(count, "tensor")).join(" and ")} in no layer.` : "",
      "Click a mark to find its group in the table.",
    ].filter(Boolean).join(" ");
  }
}
