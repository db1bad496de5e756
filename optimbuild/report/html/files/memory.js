// What each rank holds: the fullest and the emptiest rank in words, all of them as bars.

const PARTS = {parameters: "Parameters", gradients: "Gradients", state: "Optimizer state"}, MOST_BARS = 256;

class RankPicture {
  constructor({plans}) {
    this.plans = plans.filter((plan) => plan.data.memory);
    this.box = byId("ranks");
    byId("memory-text").replaceChildren(...plans.map((plan, i) => element("div", {}, ...this.words(plan, plans.length > 1 ? titleOf(plan, i) : ""))));
    this.box.hidden = !this.plans.some((plan) => plan.data.memory.state.length > 1);
  }

  words(plan, title) {
    const heading = title ? [element("h3", {}, title)] : [], {memory, unforeseen} = plan.data;
    if (!memory) return [...heading, element("p", {}, `It cannot be foreseen: ${unforeseen}`)];
    const totals = memory.state.map((state, rank) => state + memory.parameters[rank] + memory.gradients[rank]);
    const ends = totals.reduce(([most, least], total, rank) => [total > totals[most] ? rank : most, total < totals[least] ? rank : least], [0, 0]);
    const rows = [...new Set(ends)].map((rank) => [`rank ${rank}${totals.length > 1 ? (rank === ends[0] ? " (most)" : " (least)") : ""}`,
      ...Object.keys(PARTS).map((part) => bytesText(memory[part][rank])), bytesText(totals[rank])]);
    const head = ["", ...Object.values(PARTS), "Together"].map((text) => element("th", {scope: "col"}, text));
    const body = rows.map(([first, ...cells]) => element("tr", {}, element("th", {scope: "row"}, first), ...cells.map((text) => element("td", {}, text))));
    const table = element("table", {class: "plain"}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...body));
    head[0].replaceWith(element("td"));
    return [...heading, element("p", {class: "hint"}, `${counted(totals.length, "rank")}; ${memory.how}. Activations are not in it.`),
      element("div", {class: "wide", tabindex: "0", role: "region", "aria-label": `Bytes of the ranks ${title}`.trim()}, table)];
  }

  draw() {
    if (this.box.hidden) return;
    const {first, idle, quiet} = theme(), colours = {parameters: quiet, gradients: idle, state: first};
    const share = (i) => [i / this.plans.length + (i ? 0.06 : 0), (i + 1) / this.plans.length];
    const traces = this.plans.flatMap(({data: {memory}}, i) => Object.entries(PARTS).map(([part, name]) => {
      const shared = {x: memory[part].map((_, rank) => rank), y: memory[part].map((bytes) => bytes / 2 ** 30), name, legendgroup: part, showlegend: i === 0,
        xaxis: i ? "x2" : "x", hovertemplate: `rank %{x}: %{y:.3f} GiB ${name.toLowerCase()}<extra></extra>`};
      return memory[part].length > MOST_BARS ? {...shared, type: "scatter", mode: "lines", stackgroup: `ranks ${i}`, line: {width: 0}, fillcolor: colours[part]}
        : {...shared, type: "bar", marker: {color: colours[part]}};
    }));
    const axes = Object.fromEntries(this.plans.map((plan, i) => [i ? "xaxis2" : "xaxis", {domain: share(i), title: {text: this.plans.length > 1 ? `rank, ${LETTERS[i]}` : "rank"}}]));
    const own = {height: 260, barmode: "stack", bargap: 0.1, margin: {l: 56, r: 8, t: 32, b: 40}, legend: {orientation: "h", y: 1.02, yanchor: "bottom", x: 0}};
    Plotly.react(this.box, traces, layout({...own, ...axes, yaxis: {title: {text: "GiB"}}}), CONFIG);
  }
}
