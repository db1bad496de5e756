// Numbers, sizes and elements. Text enters the page as text nodes only, so a name is never read as markup.

/** Return an element with attributes and children; texts become text nodes. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== false && value != null) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

const byId = (id) => document.getElementById(id);

/** Return the value of an option exactly, in the notation of the command line. */
function valueText(value) {
  if (value === null || value === undefined) return "null";
  if (typeof value === "number") return numberText(value);
  if (Array.isArray(value)) return `[${value.map(valueText).join(", ")}]`;
  if (typeof value === "object") {
    return `{${Object.entries(value).map(([key, item]) => `${key}: ${valueText(item)}`).join(", ")}}`;
  }
  return String(value);
}

/** Return a number exactly: decimal, or with an exponent of two digits where it is tiny or huge. */
function numberText(value) {
  const size = Math.abs(value);
  if (value === 0 || (size >= 1e-4 && size < 1e16)) return String(value);
  return value.toExponential().replace(/e([+-])(\d)$/, "e$10$2").replace("e+", "e");
}

/** Return a number in at most four digits. */
const shortText = (value) => (typeof value === "number" ? numberText(Number(value.toPrecision(4))) : valueText(value));

/** Return a count in three digits and a unit, such as 29.9M. */
function countText(count) {
  if (count < 1000) return String(count);
  let value = count;
  for (const unit of "kMBT") {
    value /= 1000;
    if (value < 999.5 || unit === "T") return value.toFixed(value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2) + unit;
  }
}

/** Return a number of bytes, such as 314.7 MiB. */
function bytesText(count) {
  if (count < 1024) return `${Math.round(count)} B`;
  let value = count;
  for (const unit of ["KiB", "MiB", "GiB", "TiB"]) {
    value /= 1024;
    if (value < 1024 || unit === "TiB") return `${value.toFixed(1)} ${unit}`;
  }
}

const counted = (count, thing) => `${count.toLocaleString("en")} ${thing}${count === 1 ? "" : "s"}`;

const shapeText = (shape) => shape.join("×") || "scalar";

/** Fill a group of radio buttons; calls back with the value that is chosen. */
function choices(group, values, chosen, changed) {
  const name = group.id;
  group.replaceChildren(...Object.entries(values).map(([value, label]) => {
    const input = element("input", {type: "radio", name, value, checked: value === chosen, onchange: () => changed(value)});
    return element("label", {}, input, element("span", {}, label));
  }));
}
