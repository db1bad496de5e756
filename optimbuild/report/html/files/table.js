// The table of groups, modules and parameters: Rows says which rows there are and in which order, DataTables shows them.

const ROW_HEIGHT = 34;

/** Return the columns: a title, the text of a node's cell, its value for sorting, and whether it is a number. */
function columnsOf({plans, trees, totals}, view) {
  const tree = trees[view], sums = totals[view], several = plans.length > 1;
  const of = (i) => (several ? ` ${LETTERS[i]}` : "");
  const keys = [...new Set(plans.flatMap((plan) => Object.keys(plan.data.columns)))];
  const options = keys.flatMap((key) => plans.map((plan, i) => ({
    title: key.replace("_", " ") + of(i), number: true, width: 7.5,
    text: (node) => optionCell(plan, sums[i], key, node), value: (node) => optionValue(plan, sums[i], key, node),
  })));
  const optimizers = plans.flatMap((plan, i) => (plan.optimizers.length < 2 ? [] : [{title: `optimizer${of(i)}`, width: 8.5,
    text: (node) => optimizerText(plan, sums[i].optimizer[node]), value: (node) => optimizerText(plan, sums[i].optimizer[node])}]));
  const largest = (name) => (node) => Math.max(...sums.map((sum) => sum[name][node]));
  const shape = (node) => (tree.param[node] < 0 ? "" : shapeText(plans.find((plan) => plan.has(tree.param[node])).shape(tree.param[node])));
  return [
    {title: "name", width: 22, text: (node) => tree.label[node], value: (node) => tree.label[node]},
    ...options, ...optimizers,
    {title: "tensors", number: true, width: 6, text: (node) => largest("tensors")(node).toLocaleString("en"), value: largest("tensors")},
    {title: "elements", number: true, width: 6.5, text: (node) => countText(largest("numel")(node)), value: largest("numel")},
    {title: "shape", width: 8.5, text: shape, value: (node) => shape(node) || null},
    ...(plans[0].data.bytes ? [{title: "memory", number: true, width: 7, text: (node) => bytesText(largest("bytes")(node)), value: largest("bytes")}] : []),
  ];
}

function optionCell(plan, sums, key, node) {
  const group = sums.group[node];
  if (group === FROZEN) return key === "lr" ? "frozen" : "";
  if (group === ABSENT) return key === "lr" ? "absent" : "";
  if (group >= 0) return plan.data.columns[key]?.[group] ?? "";
  if (key === "lr") return rangeText(plan, key, sums.lowLr[node], sums.highLr[node]);
  if (key === "weight_decay") return rangeText(plan, key, sums.lowDecay[node], sums.highDecay[node]);
  return "several";
}

function optionValue(plan, sums, key, node) {
  const group = sums.group[node];
  if (group >= 0) return sortable(plan.data.groups[group].options[key]);
  if (key === "lr" && group === SEVERAL) return sums.highLr[node];
  if (key === "weight_decay" && group === SEVERAL) return sums.highDecay[node];
  return null;
}

const sortable = (value) => (value === null || value === undefined ? null : typeof value === "number" ? value : valueText(value));

class ReportTable {
  constructor(report, DataTable, opened) {
    Object.assign(this, {report, DataTable, opened, rows: {}, view: "groups"});
    for (const view of ["groups", "modules"]) this.rows[view] = this.rowsOf(view);
    choices(byId("view"), {groups: "By group", modules: "By module"}, "groups", (view) => this.show(view));
    const box = byId("groups");
    box.addEventListener("keydown", (event) => this.key(event));
    box.addEventListener("click", (event) => this.click(event));
    let waiting = 0;
    byId("search").addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => this.filter(), 120);
    });
    byId("differing").hidden = report.plans.length < 2;
    byId("only-differing").addEventListener("change", () => this.filter());
    byId("unfold").addEventListener("click", () => this.foldAll(true));
    byId("fold").addEventListener("click", () => this.foldAll(false));
    this.make();
  }

  rowsOf(view) {
    const {names, plans, trees} = this.report, columns = columnsOf(this.report, view);
    const text = (param) => {
      const plan = plans.find((one) => one.has(param)), {owner, kinds, dtype} = plan.facts(param);
      return `${names[param]} ${owner} ${kinds.join(" ")} ${dtype} ${plan.aliases(param).join(" ")}`.toLowerCase();
    };
    const texts = [];
    return Object.assign(new Rows(trees[view], (param) => (texts[param] ??= text(param)), (node, column) => columns[column].value(node)), {columns});
  }

  get now() {
    return this.rows[this.view];
  }

  make() {
    const {columns} = this.now;
    this.setWidths(columns.map(({width}) => width));
    this.visible = this.now.visible();
    this.table = new this.DataTable("#table", {
      data: this.places(), searching: false, info: false, deferRender: true, autoWidth: false, scrollX: true,
      order: [], orderFixed: {pre: [[columns.length, "asc"]]}, // the order of the places, whatever column is asked for
      scrollY: "min(60vh, 40rem)", scrollCollapse: true,
      scroller: {rowHeight: ROW_HEIGHT, displayBuffer: 5},
      layout: {topStart: null, topEnd: null, bottomStart: null, bottomEnd: null},
      typeDetect: false, // it would look at every cell, and we sort ourselves
      columns: [...columns.map(({title, number}) => ({title: escaped(title), data: null, defaultContent: "", className: number ? "number" : "",
        orderSequence: ["asc", "desc", ""]})), {title: "place", data: "place", visible: false, type: "num"}],
      createdRow: (row, {node}) => this.fill(row, node),
      drawCallback: () => setTimeout(() => this.refocus()), // when Scroller has put the rows in their place
    });
    this.table.off("stateSaveParams"); // or, while scrolling, an extension looks through all cells to save a state
    this.table.on("order", () => this.sort(this.table.order()));
    this.count();
  }

  /** Return what DataTables keeps of each row: its node, and its place in our order. */
  places() {
    return this.visible.map((node, place) => ({node, place}));
  }

  /** Sort by the column that was asked for; DataTables only shows that it was. */
  sort(order) {
    const wanted = order.filter(([column, way]) => way && column < this.now.columns.length).map(([column, way]) => ({column, descending: way === "desc"}));
    if (JSON.stringify(wanted) === JSON.stringify(this.now.order)) return;
    this.now.order = wanted;
    setTimeout(() => this.redraw()); // after the draw that tells of the new order
  }

  /** Fix the widths of the columns, so that rows that come into sight move nothing; the names take what is left. */
  setWidths([names, ...others]) {
    const scale = innerWidth < 640 ? 0.75 : 1, least = names * scale * scale + others.reduce((sum, width) => sum + width, 0) * scale;
    const rules = others.map((width, i) => `#groups col[data-dt-column="${i + 1}"] { width: ${width * scale}rem !important; }`);
    byId("widths").textContent = `#groups table.dataTable { min-width: ${least}rem; } ${rules.join(" ")}`;
  }

  count() {
    const {names} = this.report, {searching, matches} = this.now;
    byId("count").textContent = searching ? `${counted(matches, "tensor")} of ${names.length.toLocaleString("en")} found.`
      : `${counted(this.visible.length, "row")}, ${counted(names.length, "tensor")}.`;
  }

  fill(row, node) {
    const {tree, columns, open, searching} = this.now, leaf = tree.param[node] >= 0, label = tree.label[node];
    row.dataset.node = node;
    columns.slice(1).forEach((column, i) => {
      row.cells[i + 1].textContent = column.text(node);
    });
    const depth = tree.path(node).length - 1, unfolded = Boolean(open[node] || searching);
    const toggle = leaf || !tree.children[node] ? element("span", {class: "no-toggle"})
      : element("button", {type: "button", class: "toggle", "aria-expanded": String(unfolded), "aria-label": `${label}: ${unfolded ? "fold" : "unfold"}`});
    const name = element("button", {type: "button", class: "name", title: label, "aria-haspopup": "dialog"}, label);
    row.cells[0].style.paddingLeft = `${0.4 + Math.min(depth, 12) * 1.1}rem`;
    row.cells[0].replaceChildren(toggle, name);
    row.classList.toggle("branch", !leaf);
    row.classList.toggle("frozen", this.report.totals[this.view].every((sums) => sums.group[node] === FROZEN));
    row.classList.toggle("differs", leaf && differs(this.report.plans, tree.param[node]));
  }

  filter() {
    const {plans} = this.report, only = byId("only-differing").checked;
    for (const rows of Object.values(this.rows)) {
      rows.search(byId("search").value);
      rows.only = only ? (param) => differs(plans, param) : null;
    }
    this.redraw();
  }

  foldAll(open) {
    this.now.all(open);
    this.redraw();
  }

  toggle(node) {
    this.now.toggle(node);
    this.redraw(false);
  }

  redraw(fromTop = true) {
    this.visible = this.now.visible();
    this.table.clear().rows.add(this.places()).draw(fromTop);
    this.count();
  }

  /** Show a view, and in it a node. */
  show(view, node = null) {
    if (view !== this.view) {
      this.view = view;
      byId("view").querySelector(`[value=${view}]`).checked = true;
      this.now.order = [];
      this.table.destroy();
      byId("table").querySelectorAll("thead, tbody").forEach((part) => part.remove());
      this.make();
    }
    if (node === null) return;
    if (this.now.searching) {
      byId("search").value = "";
      byId("only-differing").checked = false;
      this.filter();
    }
    this.now.reveal(node);
    this.redraw();
    this.focus(node);
  }

  /** Move the focus to the name of a node; its row may have to come into sight first. */
  focus(node) {
    this.wanted = node;
    if (!this.refocus()) this.table.scroller.toPosition(Math.max(this.visible.indexOf(node) - 3, 0), false);
  }

  refocus() {
    if (this.wanted === undefined) return false;
    const button = document.querySelector(`#table tr[data-node="${this.wanted}"] .name`);
    if (!button) return false;
    button.focus();
    this.wanted = undefined;
    return true;
  }

  nodeOf(event) {
    const row = event.target.closest("#table tbody tr");
    return row && row.dataset.node ? Number(row.dataset.node) : null;
  }

  click(event) {
    const node = this.nodeOf(event);
    if (node === null) return;
    if (event.target.closest(".toggle")) {
      this.wanted = node;
      this.toggle(node);
    } else this.opened(this.view, node);
  }

  key(event) {
    const node = this.nodeOf(event);
    if (node === null || event.altKey || event.ctrlKey || event.metaKey) return;
    const {tree, open} = this.now, place = this.visible.indexOf(node), last = this.visible.length - 1;
    const steps = {ArrowDown: 1, ArrowUp: -1, PageDown: 12, PageUp: -12, Home: -Infinity, End: Infinity};
    if (event.key in steps) this.focus(this.visible[Math.min(Math.max(place + steps[event.key], 0), last)]);
    else if (event.key === "ArrowRight" && tree.children[node] && !open[node]) this.unfoldFrom(node);
    else if (event.key === "ArrowLeft") tree.children[node] && open[node] ? this.unfoldFrom(node) : this.focus(tree.parent[node] || node);
    else return;
    event.preventDefault();
  }

  unfoldFrom(node) {
    this.wanted = node;
    this.toggle(node);
  }
}
