const MEASURES = {
  val_accuracy: "validation accuracy",
  val_loss: "validation loss",
  train_accuracy: "training accuracy",
  train_loss: "training loss",
};
// uPlot's dashes, and the border style of the sample in the legend.
const LINE_STYLES = [[[], "solid"], [[9, 4], "dashed"], [[2, 4], "dotted"], [[9, 4, 2, 4], "dashed"]];
const COLORS = 12; // --row0 to --row11 in the style sheet
const MANY_LINES = 12; // with more lines, only the best are shown at first
const LINES_AT_FIRST = 6;
const SPOKEN_LINES = 8; // most values that a screen reader reads at each key press
const STEPS = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 };

/** Return a colour of the style sheet, which has one set for light and one for dark pages. */
function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

const isAccuracy = (metric) => metric.endsWith("accuracy");
const percent = (value, digits) => `${(100 * value).toFixed(digits)}%`;

/** Return the text of a value; null, for a loss that is not finite, is "–". */
function valueText(metric, value) {
  if (value == null) return "–";
  return isAccuracy(metric) ? percent(value, 2) : value.toPrecision(4);
}

/** The curves of a picture: drawn by uPlot, with a checkbox per line and the values of an epoch. */
class Chart {
  constructor(image, part) {
    this.lines = part.lines.map((line, rank) => this.makeLine(line, rank, part));
    this.hasChoice = !part.lines[0].split; // of the metric
    const epochs = this.lines.flatMap((line) => line.curves.epochs);
    this.epochs = [...new Set(epochs)].sort((first, second) => first - second);
    this.position = null; // of the epoch whose values are shown
    this.makeElements(image);
    this.draw();
    image.classList.add("still"); // hidden on the screen, now that the curves are drawn
    const fitWidth = () => this.plot.setSize({ width: this.box.clientWidth, height: this.plot.height });
    new ResizeObserver(fitWidth).observe(this.box);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  makeLine({ label, curves, split, row = 0 }, rank, part) {
    const [dash, border] = split === "train" ? LINE_STYLES[1] : LINE_STYLES[row % LINE_STYLES.length];
    return {
      label, dash, border,
      metric: `${split || "val"}_${part.quantity}`,
      curves: data.curves[curves],
      color: split || `row${row % COLORS}`,
      shown: part.lines.length <= MANY_LINES || rank < LINES_AT_FIRST,
      box: element("input", { type: "checkbox" }),
      value: element("span", { class: "value" }),
    };
  }

  get shownLines() {
    return this.lines.filter((line) => line.shown);
  }

  makeElements(image) {
    this.box = element("div", {
      class: "plot", tabindex: 0, role: "slider", "aria-label": image.alt,
      "aria-description": "Left and right arrow keys move to other epochs",
      "aria-valuemin": this.epochs[0], "aria-valuemax": this.epochs.at(-1),
    });
    this.box.addEventListener("keydown", (event) => this.onKey(event));
    this.spoken = element("p", { class: "unseen", role: "status" });
    this.epochText = element("p", { class: "epoch" });
    const controls = element("div", { class: "controls" }, this.epochText);
    if (this.hasChoice) controls.prepend(this.makeMetricChoice());
    if (this.lines.length > 3) {
      controls.append(this.makeSwitch("Show all", true), this.makeSwitch("Show none", false));
    }
    const legend = element("div", { class: "lines", role: "group", "aria-label": "Lines shown" });
    legend.append(...this.lines.map((line) => this.makeLabel(line)));
    image.before(element("div", { class: "live chart" }, controls, this.box, this.spoken, legend));
  }

  makeMetricChoice() {
    const choice = element("select", { "aria-label": "Metric" });
    for (const [value, text] of Object.entries(MEASURES)) choice.append(element("option", { value }, text));
    choice.addEventListener("change", () => {
      for (const line of this.lines) line.metric = choice.value;
      this.draw();
    });
    return choice;
  }

  makeSwitch(text, shown) {
    const button = element("button", { type: "button" }, text);
    button.addEventListener("click", () => {
      for (const line of this.lines) line.shown = line.box.checked = shown;
      this.draw();
    });
    return button;
  }

  makeLabel(line) {
    const sample = element("span", { class: "sample", "aria-hidden": "true" });
    sample.style.borderTop = `3px ${line.border} var(--${line.color})`;
    line.box.checked = line.shown;
    line.box.addEventListener("change", () => {
      line.shown = line.box.checked;
      this.draw();
    });
    return element("label", {}, line.box, sample, element("span", {}, line.label), line.value);
  }

  // uPlot gets all values anew whenever something changes: a chart has few thousand values.
  draw() {
    this.plot?.destroy();
    const columns = [this.epochs];
    const series = [{}];
    const bands = [];
    for (const line of this.shownLines) {
      const indices = this.epochs.map((epoch) => line.curves.epochs.indexOf(epoch));
      const [mean, ...range] = line.curves[line.metric] || [[]];
      const stroke = color(line.color);
      if (range.length) {
        bands.push({ series: [series.length + 1, series.length], fill: `${stroke}26` });
      }
      for (const edge of range) {
        columns.push(indices.map((index) => edge[index] ?? null));
        series.push({ width: 0, points: { show: false }, spanGaps: true });
      }
      columns.push(indices.map((index) => mean[index] ?? null));
      const points = { show: this.epochs.length < 2 };
      series.push({ stroke, width: 2, dash: line.dash, spanGaps: true, points });
    }
    this.plot = new uPlot({ ...this.options(), series, bands }, columns, this.box);
    this.showValues(this.position);
  }

  options() {
    const grid = { stroke: color("line"), width: 1 };
    const axis = { stroke: color("ink"), grid, ticks: grid };
    const ticks = (chart, values) => values.map((value) => `${Number((100 * value).toFixed(6))}%`);
    const room = (chart, low, high) => (low === high ? [low - 1, high + 1] : [low, high]);
    return {
      width: this.box.clientWidth,
      height: this.hasChoice ? 340 : 260,
      legend: { show: false },
      cursor: { points: { show: false }, y: false },
      scales: { x: { time: false, range: room } },
      axes: [
        { ...axis, label: "epoch", labelSize: 22, size: 34, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000] },
        { ...axis, size: 58, values: isAccuracy(this.lines[0].metric) ? ticks : undefined },
      ],
      hooks: {
        draw: [(chart) => this.drawChosenEpochs(chart)],
        setCursor: [({ cursor }) => this.showValues(cursor.idx ?? null)],
      },
    };
  }

  /** Draw a diamond at the epochs whose weights the runs keep. */
  drawChosenEpochs(chart) {
    const { ctx } = chart;
    const size = 5 * devicePixelRatio;
    ctx.lineWidth = 1.5 * devicePixelRatio;
    ctx.fillStyle = color("paper");
    for (const line of this.shownLines.filter(({ metric }) => metric.startsWith("val"))) {
      ctx.strokeStyle = color(line.color);
      (line.curves[`${line.metric}_chosen`] || []).forEach((value, run) => {
        const x = chart.valToPos(line.curves.chosen[run], "x", true);
        const y = chart.valToPos(value, "y", true);
        const corners = `l${size} ${-size}l${size} ${size}l${-size} ${size}z`;
        const diamond = new Path2D(`M${x - size} ${y}${corners}`);
        ctx.fill(diamond);
        ctx.stroke(diamond);
      });
    }
  }

  /** Return the text of a line's mean at an epoch, with the range if there are several seeds. */
  textAt(line, epoch) {
    const index = line.curves.epochs.indexOf(epoch);
    const values = (line.curves[line.metric] || []).map((series) => series[index]);
    const [mean, low, high] = values.map((value) => valueText(line.metric, value));
    if (mean === undefined || mean === "–") return "–";
    return high === undefined ? mean : `${mean} (${low} to ${high})`;
  }

  /** Show the values at a position among the epochs; null shows no values. */
  showValues(position) {
    this.position = position;
    const epoch = this.epochs[position];
    const noEpoch = position === null;
    for (const line of this.lines) {
      line.value.textContent = noEpoch || !line.shown ? "" : this.textAt(line, epoch);
    }
    this.epochText.textContent = noEpoch ? "Values: point at the curves" : `epoch ${epoch}`;
    this.box.setAttribute("aria-valuenow", noEpoch ? this.epochs[0] : epoch);
    this.box.setAttribute("aria-valuetext", noEpoch ? "no epoch chosen" : `epoch ${epoch}`);
  }

  /** Move the cursor to another epoch, and let a screen reader read the values. */
  onKey(event) {
    const last = this.epochs.length - 1;
    const isStep = event.key in STEPS;
    const positionOfKey = { Home: 0, End: last };
    if (!isStep && !(event.key in positionOfKey)) return;
    if (event.ctrlKey || event.altKey || event.metaKey) return; // the browser's own keys
    event.preventDefault();
    const next = this.position === null ? 0 : this.position + STEPS[event.key];
    const position = isStep ? Math.min(Math.max(next, 0), last) : positionOfKey[event.key];
    const epoch = this.epochs[position];
    this.plot.setCursor({ left: this.plot.valToPos(epoch, "x"), top: 1 });
    this.showValues(position);
    const values = this.shownLines.map((line) => `${line.label} ${this.textAt(line, epoch)}`);
    const unspoken = values.length - SPOKEN_LINES;
    const end = unspoken > 0 ? ` and ${unspoken} more` : "";
    this.spoken.textContent = `Epoch ${epoch}: ${values.slice(0, SPOKEN_LINES).join(", ")}${end}`;
  }
}
