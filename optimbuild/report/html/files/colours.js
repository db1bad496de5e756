// Colours: one ramp for quantities, one list for names, and the colours of the page's theme.

const RAMP = [[52, 42, 122], [44, 96, 165], [38, 145, 155], [104, 186, 118], [226, 206, 82]];
const NAMED = ["#2c60a5", "#d9782d", "#3a9d76", "#a9519b", "#b8a02a", "#5aa9d6"];

/** Return a colour of the ramp, from 0, dark blue, to 1, yellow. */
function ramp(share) {
  const place = Math.min(Math.max(share, 0), 1) * (RAMP.length - 1);
  const from = Math.min(Math.floor(place), RAMP.length - 2);
  const mixed = RAMP[from].map((channel, i) => Math.round(channel + (RAMP[from + 1][i] - channel) * (place - from)));
  return `rgb(${mixed.join(",")})`;
}

/** Return the colours of the theme, as the style sheet has them now. */
function theme() {
  const style = getComputedStyle(document.documentElement);
  const named = (name) => style.getPropertyValue(`--${name}`).trim();
  return {text: named("text"), quiet: named("quiet"), line: named("line"), card: named("card"), idle: named("idle"),
    first: named("first"), second: named("second"), accent: named("accent")};
}

/** A scale of numbers on the ramp; logarithmic where asked for and possible. */
class Scale {
  constructor(low, high, logarithmic) {
    this.low = low;
    this.high = high;
    this.of = logarithmic && low > 0 ? Math.log : (value) => value;
  }

  share(value) {
    const span = this.of(this.high) - this.of(this.low);
    return span > 0 ? (this.of(value) - this.of(this.low)) / span : 1;
  }

  colour(value) {
    return value === null || Number.isNaN(value) ? null : ramp(this.share(value));
  }
}

const LAYOUT = {margin: {l: 4, r: 4, t: 4, b: 4}, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)"};
const CONFIG = {displayModeBar: false, responsive: true, doubleClick: false};

/** Return what all pictures share, with a layout of their own on top. */
function layout(own) {
  const {text, line} = theme();
  const axis = {gridcolor: line, zerolinecolor: line, linecolor: line, fixedrange: true};
  const axes = Object.fromEntries(Object.keys(own).filter((key) => /^[xy]axis/.test(key)).map((key) => [key, {...axis, ...own[key]}]));
  return {...LAYOUT, font: {color: text, family: "system-ui, sans-serif", size: 12}, ...own, ...axes};
}
