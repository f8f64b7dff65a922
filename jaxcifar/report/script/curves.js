const MEASURES = [
  ["val_accuracy", "validation accuracy"],
  ["val_loss", "validation loss"],
  ["train_accuracy", "training accuracy"],
  ["train_loss", "training loss"],
];
const DASHES = [[], [9, 4], [2, 4], [9, 4, 2, 4]];
const MANY_LINES = 12; // with more lines, only the best are shown at first
const LINES_AT_FIRST = 6;
const SPOKEN_LINES = 8; // most values that a screen reader reads at each key press
const KEYS = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 };

/** Return a colour of the style sheet, which has one set for light and one for dark pages. */
function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function makeChart(image, part) {
  const lines = part.lines.map((line, rank) => ({
    ...line,
    curves: data.curves[line.curves],
    color: line.split || `row${(line.row ?? 0) % 7}`,
    dash: DASHES[line.split ? (line.split === "train") + 0 : (line.row ?? 0) % DASHES.length],
    shown: part.lines.length <= MANY_LINES || rank < LINES_AT_FIRST,
  }));
  const canChoose = !part.lines.some((line) => line.split);
  const epochs = [...new Set(lines.flatMap((line) => line.curves.epochs))].sort((a, b) => a - b);
  let measure = `val_${part.quantity}`;
  let position = -1; // of the epoch whose values are shown
  let plot = null;

  const plotBox = element("div", {
    class: "plot", tabindex: 0, role: "slider", "aria-label": image.alt,
    "aria-description": "Left and right arrow keys move to other epochs",
    "aria-valuemin": epochs[0], "aria-valuemax": epochs.at(-1), "aria-valuenow": epochs[0],
    "aria-valuetext": "no epoch chosen",
  });
  const spoken = element("p", { class: "unseen", role: "status" });
  const epochText = element("p", { class: "epoch" });
  const legend = element("div", { class: "lines", role: "group", "aria-label": "Lines shown" });

  const measureOf = (line) => (line.split ? `${line.split}_${part.quantity}` : measure);
  const format = (value) =>
    part.quantity === "accuracy" ? `${(100 * value).toFixed(2)}%` : value.toPrecision(4);
  /** Return the texts of a line's mean and range over seeds at an epoch; "–" without a value. */
  function valueText(line, epoch) {
    const place = line.curves.epochs.indexOf(epoch);
    const values = (line.curves[measureOf(line)] || []).map((series) => series[place]);
    if (values[0] == null) return "–";
    const range = values.length > 1 ? ` (${format(values[1])} to ${format(values[2])})` : "";
    return format(values[0]) + range;
  }

  function showValues(newPosition) {
    position = newPosition;
    const isChosen = position >= 0;
    epochText.textContent = isChosen ? `epoch ${epochs[position]}` : "Values: point at the curves";
    for (const line of lines) {
      line.value.textContent = isChosen && line.shown ? valueText(line, epochs[position]) : "";
    }
    plotBox.setAttribute("aria-valuenow", epochs[Math.max(position, 0)]);
    plotBox.setAttribute("aria-valuetext", isChosen ? epochText.textContent : "no epoch chosen");
  }

  function speakValues() {
    const shown = lines.filter((line) => line.shown);
    const values = shown.slice(0, SPOKEN_LINES);
    const texts = values.map((line) => `${line.label} ${valueText(line, epochs[position])}`);
    const more = shown.length - values.length;
    spoken.textContent = `Epoch ${epochs[position]}: ${texts.join(", ")}`
      + (more > 0 ? ` and ${more} more` : "");
  }

  /** Draw a diamond at the epochs whose weights the runs keep. */
  function drawChosenEpochs(chart) {
    const { ctx } = chart;
    const size = 5 * devicePixelRatio;
    for (const line of lines.filter((each) => each.shown && measureOf(each).startsWith("val"))) {
      (line.curves[`${measureOf(line)}_chosen`] || []).forEach((value, run) => {
        const x = chart.valToPos(line.curves.chosen[run], "x", true);
        const y = chart.valToPos(value, "y", true);
        const diamond = new Path2D(`M${x - size} ${y}l${size} ${-size}l${size} ${size}l${-size} ${size}z`);
        ctx.fillStyle = color("paper");
        ctx.strokeStyle = color(line.color);
        ctx.lineWidth = 1.5 * devicePixelRatio;
        ctx.fill(diamond);
        ctx.stroke(diamond);
      });
    }
  }

  function draw() {
    plot?.destroy();
    const columns = [epochs];
    const series = [{}];
    const bands = [];
    for (const line of lines.filter((each) => each.shown)) {
      const places = epochs.map((epoch) => line.curves.epochs.indexOf(epoch));
      const [mean, low, high] = line.curves[measureOf(line)] || [[]];
      const stroke = color(line.color);
      if (low) {
        bands.push({ series: [series.length + 1, series.length], fill: `${stroke}26` });
        for (const edge of [low, high]) {
          columns.push(places.map((place) => edge[place] ?? null));
          series.push({ width: 0, points: { show: false }, spanGaps: true });
        }
      }
      columns.push(places.map((place) => mean[place] ?? null));
      series.push({ stroke, width: 2, dash: line.dash, spanGaps: true, points: { show: epochs.length < 2 } });
    }
    const axis = { stroke: color("ink"), grid: { stroke: color("line"), width: 1 }, ticks: { stroke: color("line") } };
    const percents = (chart, ticks) => ticks.map((tick) => `${+(100 * tick).toFixed(6)}%`);
    plot = new uPlot({
      width: plotBox.clientWidth,
      height: canChoose ? 340 : 260,
      legend: { show: false },
      cursor: { points: { show: false }, y: false },
      scales: { x: { time: false, range: (chart, low, high) => (low === high ? [low - 1, high + 1] : [low, high]) } },
      series,
      bands,
      axes: [
        { ...axis, label: "epoch", labelSize: 22, size: 34, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000] },
        { ...axis, size: 58, values: part.quantity === "accuracy" ? percents : undefined },
      ],
      hooks: {
        draw: [drawChosenEpochs],
        setCursor: [(chart) => {
          const index = chart.cursor.idx ?? -1;
          if (index !== position) showValues(index);
        }],
      },
    }, columns, plotBox);
    showValues(position);
  }

  function moveTo(newPosition) {
    showValues(Math.min(Math.max(newPosition, 0), epochs.length - 1));
    plot.setCursor({ left: plot.valToPos(epochs[position], "x"), top: 0 });
    speakValues();
  }
  plotBox.addEventListener("keydown", (event) => {
    const ends = { Home: 0, End: epochs.length - 1 };
    const isStep = event.key in KEYS;
    if ((!isStep && !(event.key in ends)) || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    const next = position < 0 ? 0 : position + KEYS[event.key];
    moveTo(isStep ? next : ends[event.key]);
  });

  for (const line of lines) {
    line.box = element("input", { type: "checkbox" });
    line.box.checked = line.shown;
    line.value = element("span", { class: "value" });
    const sample = element("span", { class: "sample", "aria-hidden": "true" });
    sample.style.borderTopColor = `var(--${line.color})`;
    sample.style.borderTopStyle = ["solid", "dashed", "dotted", "dashed"][DASHES.indexOf(line.dash)];
    legend.append(element("label", {}, line.box, sample, element("span", {}, line.label), line.value));
    line.box.addEventListener("change", () => { line.shown = line.box.checked; draw(); });
  }
  const controls = element("div", { class: "controls" }, epochText);
  if (canChoose) controls.prepend(measureChoice((name) => {
    measure = name;
    part.quantity = name.split("_")[1];
    draw();
  }));
  if (lines.length > 3) for (const [text, shown] of [["Show all", true], ["Show none", false]]) {
    const button = element("button", { type: "button" }, text);
    button.addEventListener("click", () => {
      for (const line of lines) line.shown = line.box.checked = shown;
      draw();
    });
    controls.append(button);
  }
  image.before(element("div", { class: "live chart" }, controls, plotBox, spoken, legend));
  image.classList.add("still");
  draw();
  new ResizeObserver(() => plot.setSize({ width: plotBox.clientWidth, height: plot.height })).observe(plotBox);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}

function measureChoice(onChange) {
  const select = element("select", { "aria-label": "Metric" });
  for (const [value, text] of MEASURES) select.append(element("option", { value }, text));
  select.addEventListener("change", () => onChange(select.value));
  return select;
}
