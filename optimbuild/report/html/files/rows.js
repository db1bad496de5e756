// The rows of the table: which nodes of a tree are visible, in which order, after folding, searching and sorting.

class Rows {
  /**
   * @param tree The tree, whose nodes are the rows.
   * @param text Returns the text of a parameter that a search reads.
   * @param value Returns the value of a node in a column, for sorting.
   */
  constructor(tree, text, value) {
    Object.assign(this, {tree, text, value, open: new Uint8Array(tree.size), words: [], only: null, order: []});
    this.open[0] = 1;
  }

  search(words) {
    this.words = words.toLowerCase().split(/\s+/).filter(Boolean);
  }

  toggle(node) {
    this.open[node] = this.open[node] ? 0 : 1;
  }

  all(open) {
    this.open.fill(open ? 1 : 0);
    this.open[0] = 1;
  }

  /** Open everything above a node. */
  reveal(node) {
    for (const above of this.tree.path(node)) if (above !== node) this.open[above] = 1;
  }

  get searching() {
    return this.words.length > 0 || this.only !== null;
  }

  /** Return for every node whether it, or a parameter below it, is found. */
  found() {
    const {tree} = this, kept = new Uint8Array(tree.size);
    this.matches = 0;
    for (let node = tree.size - 1; node > 0; node--) {
      const param = tree.param[node];
      if (param >= 0 && (!this.only || this.only(param)) && this.fits(param)) {
        kept[node] = 1;
        this.matches += 1;
      }
      if (kept[node]) kept[tree.parent[node]] = 1;
    }
    return kept;
  }

  fits(param) {
    if (!this.words.length) return true;
    const text = this.text(param);
    return this.words.every((word) => text.includes(word));
  }

  /** Return the visible nodes in order. What a search finds is unfolded. */
  visible() {
    const {tree} = this, kept = this.searching ? this.found() : null, rows = [];
    const below = (node) => {
      for (const child of this.sorted(tree.children[node] ?? [])) {
        if (kept && !kept[child]) continue;
        rows.push(child);
        if (tree.children[child] && (kept || this.open[child])) below(child);
      }
    };
    below(0);
    return rows;
  }

  sorted(nodes) {
    if (!this.order.length) return nodes;
    const [{column, descending}] = this.order, keyed = nodes.map((node) => [this.value(node, column), node]);
    keyed.sort(([a, x], [b, y]) => compared(a, b, descending) || x - y);
    return keyed.map(([, node]) => node);
  }
}

/** Compare two values; what has none comes last either way. */
function compared(a, b, descending) {
  if (a === b) return 0;
  if (a === null || b === null) return a === null ? 1 : -1;
  const way = typeof a === "string" ? NATURAL.compare(a, b) : a - b;
  return descending ? -way : way;
}

const NATURAL = new Intl.Collator("en", {numeric: true});
