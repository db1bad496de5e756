// The explanation of a parameter, a group or a module: equal traces once, each with its steps.

const MOST_TRACES = 12, MOST_NAMES = 6;

/** Open the dialog with what led to the settings of some parameters. */
function explain({names, plans}, title, params) {
  byId("details-heading").textContent = title;
  const facts = params.length === 1 ? factsOf(plans.find((plan) => plan.has(params[0])), params[0]) : [summaryOf(plans, params)];
  const parts = plans.flatMap((plan, i) => {
    const heading = plans.length > 1 ? [element("h3", {class: i ? "second" : "first"}, titleOf(plan, i))] : [];
    return [element("section", {}, ...heading, ...tracesOf(plan, names, params.filter((param) => plan.has(param)), plans.length > 1 ? "h4" : "h3"))];
  });
  byId("details-body").replaceChildren(...facts, element("div", {class: "plans"}, ...parts));
  if (!byId("details").open) byId("details").showModal();
}

function factsOf(plan, param) {
  const {dtype, owner, kinds, evidence = {}, marks = {}, trainable, container} = plan.facts(param);
  const depth = plan.data.depth ? plan.depth(param) : -1, [own, gradient, state] = plan.bytes(param);
  const rows = {
    shape: `${shapeText(plan.shape(param))}, ${dtype}`,
    owner: [owner, container && `in ${container}`].filter(Boolean).join(", "),
    kinds: kinds.map((kind) => (kind in evidence ? `${kind} (${evidence[kind]})` : kind)).join(", "),
    marks: Object.entries(marks).map(([mark, value]) => `${mark}: ${valueText(value)}`).join(", "),
    aliases: plan.aliases(param).join(", "),
    layer: depth < 0 ? "" : `${depth} of ${plan.data.depth.layers}`,
    memory: plan.data.bytes ? `${bytesText(own)}, gradient ${bytesText(gradient)}, state ${bytesText(state)}` : "",
    requires_grad: trainable ? "" : "off in the model",
  };
  const cells = Object.entries(rows).filter(([, text]) => text);
  return [element("dl", {class: "facts"}, ...cells.map(([key, text]) => element("div", {}, element("dt", {}, key), element("dd", {}, text))))];
}

function summaryOf(plans, params) {
  const numel = params.reduce((sum, param) => sum + plans.find((plan) => plan.has(param)).numel(param), 0);
  return element("p", {}, `${counted(params.length, "tensor")}, ${countText(numel)} parameters`);
}

function tracesOf(plan, names, params, level) {
  if (!params.length) return [element("p", {}, "Not in this plan.")];
  const found = new Map();
  for (const param of params) {
    const key = `${plan.trace(param)} ${plan.group(param)}`;
    if (!found.has(key)) found.set(key, []);
    found.get(key).push(param);
  }
  const shown = [...found.values()].slice(0, MOST_TRACES).map((members) => traceOf(plan, names, members, found.size > 1, level));
  const left = found.size - shown.length;
  return left > 0 ? [...shown, element("p", {class: "hint"}, `and ${counted(left, "other explanation")}`)] : shown;
}

function traceOf(plan, names, members, several, level) {
  const heading = several ? [element(level, {}, counted(members.length, "tensor"), ": ", namesOf(names, members))] : [];
  const {start, rules, traces} = plan.data, trace = traces[plan.trace(members[0])];
  const first = plan.facts(members[0]).trainable ? settingText(start.optimizer, start.options) : "frozen: requires_grad is off";
  const steps = trace.map((step) => stepOf(step, rules));
  const group = plan.group(members[0]);
  const end = group < 0 ? "frozen" : settingText(plan.data.groups[group].optimizer, plan.data.groups[group].options);
  return element("section", {class: "trace"}, ...heading, element("ol", {class: "steps"},
    element("li", {}, element("strong", {}, "start"), element("p", {}, first)), ...steps,
    element("li", {class: "end"}, element("strong", {}, "end"), element("p", {}, end), group < 0 ? null : element("p", {class: "hint"}, groupText(plan, group)))));
}

function namesOf(names, members) {
  const shown = members.slice(0, MOST_NAMES).map((param) => names[param]).join(", ");
  return element("code", {}, members.length > MOST_NAMES ? `${shown}, …` : shown);
}

function stepOf({rule, why, before, after}, rules) {
  const {type, origin} = rules[rule];
  const changes = Object.entries(after).map(([key, value]) => element("li", {}, changeText(key, before[key], value)));
  return element("li", {}, element("strong", {}, type), element("ul", {class: "changes"}, ...changes),
    element("p", {}, `why: ${why || "the rule does not say"}`), element("p", {class: "hint"}, `rule ${rule + 1} of ${rules.length}, ${origin}`));
}

function changeText(key, before, after) {
  const text = `${key} ${shortText(before)} → ${shortText(after)}`;
  const factor = typeof before === "number" && typeof after === "number" && before && after ? after / before : null;
  return factor === null ? text : `${text} (× ${shortText(factor)})`;
}

const settingText = (optimizer, options) => `${optimizer}: ${Object.entries(options).filter(([, value]) => value !== false)
  .map(([key, value]) => `${key} ${valueText(value)}`).join(", ")}`;

function groupText(plan, group) {
  const {logged, implementation} = plan.data.groups[group];
  return `group ${group} of ${plan.data.groups.length}, ${logged}, ${implementation}`;
}
