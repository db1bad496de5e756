// The plans of the page: their columns, read by the number of a parameter among the names of all plans.

/** Return what a packed element holds, as a response that is read as text or as a blob. */
function unpacked(id) {
  const text = atob(byId(id).textContent), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip")));
}

/** One plan. */
class PlanOfPage {
  constructor(data, names) {
    this.data = data;
    const own = data.names === names ? null : new Map(data.names.map((name, i) => [name, i]));
    this.place = Int32Array.from(names, (name, i) => (own ? own.get(name) ?? -1 : i));
    this.sizes = data.shape.values.map((shape) => shape.reduce((product, size) => product * size, 1));
    this.optimizers = [...new Set(data.groups.map((group) => group.optimizer))];
    this.settings = data.groups.map(({optimizer, name, options}) => JSON.stringify([optimizer, name, Object.entries(options).sort()]));
    this.depths = data.depth ?? {of: data.names.map((_, i) => i), layers: data.names.length, source: ""};
  }

  has(param) {
    return this.place[param] >= 0;
  }

  numel(param) {
    return this.sizes[this.data.shape.of[this.place[param]]];
  }

  shape(param) {
    return this.data.shape.values[this.data.shape.of[this.place[param]]];
  }

  group(param) {
    return this.has(param) ? this.data.group[this.place[param]] : ABSENT;
  }

  facts(param) {
    return this.data.facts.values[this.data.facts.of[this.place[param]]];
  }

  aliases(param) {
    return this.data.aliases[this.place[param]] ?? [];
  }

  bytes(param) {
    return this.data.bytes ? this.data.bytes.values[this.data.bytes.of[this.place[param]]] : [0, 0, 0];
  }

  depth(param) {
    return this.depths.of[this.place[param]];
  }

  trace(param) {
    return this.data.trace[this.place[param]];
  }

  /** Return what a parameter gets as a text that is the same for equal settings. */
  setting(param) {
    const group = this.group(param);
    return group < 0 ? String(group) : this.settings[group];
  }

  /** Return the text of an option's value in the table's notation. */
  optionText(key, value) {
    this.texts ??= {};
    this.texts[key] ??= new Map(this.data.groups.map((group, i) => [group.options[key], this.data.columns[key]?.[i] || valueText(group.options[key])]));
    return this.texts[key].get(value) ?? valueText(value);
  }
}

/** Return the names of all plans, those of the first one first, and the plans. */
function plansOf(data) {
  const [first, second] = data.plans;
  const names = second ? [...new Set([...first.names, ...second.names])] : first.names;
  return {names, plans: data.plans.map((plan) => new PlanOfPage(plan, names))};
}

/** Say whether two plans do different things to a parameter. */
function differs(plans, param) {
  if (plans.length < 2) return false;
  return plans[0].has(param) !== plans[1].has(param) || plans[0].setting(param) !== plans[1].setting(param)
    || shapeText(plans[0].shape(param)) !== shapeText(plans[1].shape(param));
}

/** The letters of two plans side by side; the page's head has them too. */
const LETTERS = ["A", "B"];
const titleOf = (plan, i) => [LETTERS[i], plan.data.title].filter(Boolean).join(" · ");
