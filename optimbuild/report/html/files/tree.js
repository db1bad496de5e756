// A tree whose leaves are parameters, and what each plan gives to the parameters below a node.

const SEVERAL = -2, FROZEN = -1, ABSENT = -3;

/** Nodes by number; a node comes after its parent. Leaves have the number of a parameter, all others -1. */
class Tree {
  constructor() {
    this.label = [];
    this.parent = [];
    this.children = [];
    this.param = [];
    this.add(-1, "", -1);
  }

  add(parent, label, param) {
    const node = this.label.push(label) - 1;
    this.parent.push(parent);
    this.children.push(null);
    this.param.push(param);
    if (parent >= 0) (this.children[parent] ??= []).push(node);
    return node;
  }

  get size() {
    return this.label.length;
  }

  /** Return the nodes from below the root down to a node. */
  path(node) {
    const found = [];
    for (let at = node; at > 0; at = this.parent[at]) found.push(at);
    return found.reverse();
  }

  /** Return the parameters at and below a node, in order. */
  params(node) {
    const found = [], open = [node];
    while (open.length) {
      const at = open.pop();
      if (this.param[at] >= 0) found.push(this.param[at]);
      const below = this.children[at] ?? [];
      for (let i = below.length - 1; i >= 0; i--) open.push(below[i]);
    }
    return found;
  }
}

/** Return the tree of modules that names tell. A parameter may have the name of a module; then it is a leaf in it. */
function treeOfModules(names) {
  const tree = new Tree(), known = new Map([["", 0]]);
  const moduleNode = (path) => {
    const found = known.get(path);
    if (found !== undefined) return found;
    const dot = path.lastIndexOf(".");
    const made = tree.add(moduleNode(dot < 0 ? "" : path.slice(0, dot)), path.slice(dot + 1), -1);
    known.set(path, made);
    return made;
  };
  names.forEach((name, param) => {
    const dot = name.lastIndexOf(".");
    tree.add(moduleNode(dot < 0 ? "" : name.slice(0, dot)), name.slice(dot + 1), param);
  });
  return tree;
}

/**
 * Return the tree of groups: below the root one node for each key, in the order of their numbers, frozen last.
 * Groups that may be empty are given by their keys.
 */
function treeOfGroups(names, keys, keyOf, labelOf) {
  const members = new Map(keys.map((key) => [key, []]));
  names.forEach((_, param) => {
    const key = keyOf(param);
    if (!members.has(key)) members.set(key, []);
    members.get(key).push(param);
  });
  const tree = Object.assign(new Tree(), {key: [""]}), place = (key) => key.split(" ").map((group) => (group < 0 ? 1e9 : Number(group)));
  const ordered = [...members.keys()].map((key) => [place(key), key]).sort(([a], [b]) => a[0] - b[0] || (a[1] ?? 0) - (b[1] ?? 0));
  for (const [, key] of ordered) {
    const node = tree.add(0, labelOf(key, members.get(key)), -1);
    tree.key[node] = key;
    for (const param of members.get(key)) tree.add(node, names[param], param);
  }
  return tree;
}

/** The totals of one plan at every node of a tree. */
class Totals {
  constructor(tree, plan) {
    const size = tree.size, zeros = () => new Float64Array(size);
    Object.assign(this, {numel: zeros(), tensors: zeros(), trained: zeros(), bytes: zeros(), logLr: zeros(), withLr: zeros(), decay: zeros()});
    Object.assign(this, {lowLr: zeros().fill(Infinity), highLr: zeros().fill(-Infinity), lowDecay: zeros().fill(Infinity),
      highDecay: zeros().fill(-Infinity), group: new Int32Array(size).fill(ABSENT), optimizer: new Int32Array(size).fill(ABSENT)});
    this.sums = [this.numel, this.tensors, this.trained, this.bytes, this.logLr, this.withLr, this.decay];
    for (let node = size - 1; node >= 0; node--) {
      if (tree.param[node] >= 0 && plan.has(tree.param[node])) this.count(node, plan, tree.param[node]);
      if (tree.parent[node] >= 0) this.addTo(tree.parent[node], node);
    }
  }

  count(node, plan, param) {
    const numel = plan.numel(param), group = plan.group(param);
    this.numel[node] = numel;
    this.tensors[node] = 1;
    this.bytes[node] = plan.bytes(param).reduce((sum, part) => sum + part, 0);
    this.group[node] = group;
    this.optimizer[node] = group < 0 ? FROZEN : plan.optimizers.indexOf(plan.data.groups[group].optimizer);
    if (group < 0) return;
    const {lr = null, weight_decay: decay = null} = plan.data.groups[group].options;
    this.trained[node] = numel;
    if (typeof lr === "number") {
      this.lowLr[node] = this.highLr[node] = lr;
      if (lr > 0) [this.logLr[node], this.withLr[node]] = [Math.log(lr) * numel, numel];
    }
    if (typeof decay === "number") {
      this.lowDecay[node] = this.highDecay[node] = decay;
      this.decay[node] = decay * numel;
    }
  }

  addTo(parent, node) {
    for (const sum of this.sums) sum[parent] += sum[node];
    this.lowLr[parent] = Math.min(this.lowLr[parent], this.lowLr[node]);
    this.lowDecay[parent] = Math.min(this.lowDecay[parent], this.lowDecay[node]);
    this.highLr[parent] = Math.max(this.highLr[parent], this.highLr[node]);
    this.highDecay[parent] = Math.max(this.highDecay[parent], this.highDecay[node]);
    this.group[parent] = merged(this.group[parent], this.group[node]);
    this.optimizer[parent] = merged(this.optimizer[parent], this.optimizer[node]);
  }
}

/** Return what two nodes have together: the same, or several. */
const merged = (a, b) => (a === b || b === ABSENT ? a : a === ABSENT ? b : SEVERAL);
