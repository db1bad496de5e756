// The start: unpack, read, draw; and draw again where the theme or the width changes.

/** Load the libraries from their packed texts. */
async function libraries() {
  const [plotly, datatables] = await Promise.all(["packed-plotly", "packed-datatables"].map((id) => unpacked(id).blob()));
  const address = (blob) => URL.createObjectURL(new Blob([blob], {type: "text/javascript"}));
  const script = element("script", {src: address(plotly)});
  await new Promise((loaded, failed) => {
    script.onload = loaded;
    script.onerror = () => failed(new Error("the pictures' library does not load"));
    document.head.append(script);
  });
  return (await import(address(datatables))).default;
}

/** Return what stands for a group in the table: its number or name, and where its parameters are. */
function groupLabel(plans, names, key, members) {
  const label = key.split(" ").map((group, i) => ({[FROZEN]: "frozen", [ABSENT]: "absent"})[group] ?? (plans[i].data.groups[group].name || group)).join(" → ");
  if (!members.length) return `${label}: empty`;
  const first = names[members[0]], more = members.length > 1 ? ` and ${counted(members.length - 1, "other")}` : "";
  return `${label}: ${first}${more}`;
}

function reportOf(data) {
  const {names, plans} = plansOf(data);
  const keyOf = (param) => plans.map((plan) => plan.group(param)).join(" ");
  const keys = plans.length > 1 ? [] : plans[0].data.groups.map((_, group) => String(group));
  const trees = {modules: treeOfModules(names), groups: treeOfGroups(names, keys, keyOf, (key, members) => groupLabel(plans, names, key, members))};
  const totals = Object.fromEntries(Object.entries(trees).map(([view, tree]) => [view, plans.map((plan) => new Totals(tree, plan))]));
  trees.groups.key.forEach((key, node) => {
    if (key && !trees.groups.children[node]) totals.groups[0].group[node] = Number(key); // an empty group has settings too
  });
  return {names, plans, trees, totals};
}

/** Draw each picture when it comes into sight; the answer draws again all that were drawn. */
function drawnInSight(pictures) {
  const drawn = new Set();
  const draw = (picture) => drawn.add(picture) && picture.draw();
  const sight = new IntersectionObserver((entries) => entries.filter(({isIntersecting}) => isIntersecting).forEach(({target}) => {
    sight.unobserve(target);
    draw(pictures.find(({box}) => box === target));
  }), {rootMargin: "200px"});
  pictures.forEach(({box}) => sight.observe(box));
  addEventListener("beforeprint", () => pictures.filter((picture) => !drawn.has(picture)).forEach(draw));
  return () => drawn.forEach((picture) => picture.draw());
}

async function start() {
  const [data, DataTable] = await Promise.all([unpacked("packed-data").json(), libraries()]);
  const report = reportOf(data), {names, plans, trees} = report;
  for (const id of ["modules", "depths", "groups", "memory"]) byId(id).hidden = false;
  byId("static").hidden = true;
  const opened = (view, node) => {
    const tree = trees[view], path = tree.path(node).map((at) => tree.label[at]);
    explain(report, tree.param[node] >= 0 ? names[tree.param[node]] : path.join(".") || plans[0].data.model || "model", tree.params(node));
  };
  const table = new ReportTable(report, DataTable, opened);
  const icicle = Object.assign(new Icicle(report, (node) => opened("modules", node)), {found: (node) => table.show("modules", node)});
  const groupNode = (plan, group) => trees.groups.key.findIndex((key) => key && key.split(" ")[plan] === String(group));
  const pictures = [icicle, new Ladder(report, (plan, group) => table.show("groups", groupNode(plan, group))), new RankPicture(report)];
  const draw = drawnInSight(pictures);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  matchMedia("(max-width: 640px)").addEventListener("change", draw);
  byId("close").addEventListener("click", () => byId("details").close());
  byId("details").addEventListener("click", (event) => event.target === byId("details") && byId("details").close());
  document.body.dataset.state = "ready";
}

start().catch((error) => {
  byId("failed").textContent = `Pictures, search and explanations do not work in this browser: ${error.message}`;
  byId("static").hidden = false;
  document.body.dataset.state = "failed";
  console.error(error);
});
