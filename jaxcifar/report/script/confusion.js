const dialog = element("dialog", { class: "live", "aria-labelledby": "images-title" });

/** Open the images of a cell. Escape closes the dialog, and the focus returns to the cell. */
async function showImages(part, cell) {
  const close = element("button", { type: "button" }, "Close");
  close.addEventListener("click", () => dialog.close());
  const sprite = new Image();
  sprite.src = part.sprite;
  const photos = element("ul", { class: "photos" });
  const [label, predicted] = [part.names[cell.true], part.names[cell.predicted]];
  const title = `${label}, classified as ${predicted}: ${cell.images.length} of ${cell.count} images`;
  dialog.replaceChildren(element("h2", { id: "images-title" }, title), photos, close);
  dialog.showModal();
  await sprite.decode();
  for (const [imageNumber, probability] of cell.images) {
    const probabilityText = `${(100 * probability).toFixed(2)}%`;
    const { size, step } = part;
    const canvas = element("canvas", { width: size, height: size, role: "img", "aria-label": `Image of ${label}` });
    const [column, row] = [imageNumber % part.columns, Math.floor(imageNumber / part.columns)];
    canvas.getContext("2d").drawImage(sprite, step * column, step * row, size, size, 0, 0, size, size);
    photos.append(element("li", {}, canvas, element("span", {}, `predicted ${predicted} ${probabilityText}`),
      element("span", {}, `true class ${label}`)));
  }
}

function cellButton(part, cell, text) {
  const [label, predicted] = [part.names[cell.true], part.names[cell.predicted]];
  const name = `${cell.count} of ${label} classified as ${predicted}, show images`;
  const button = element("button", { type: "button", class: "cell", "aria-label": name, title: name }, text);
  button.addEventListener("click", () => showImages(part, cell));
  return button;
}

/** Return the confusion matrix as a table; cells with images have a button. */
function matrixTable(part) {
  const headerCells = part.names.map((name) => element("th", { scope: "col" }, name));
  const head = element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "true \\ predicted"), ...headerCells));
  const body = element("tbody");
  part.matrix.forEach((counts, label) => {
    const imageCount = Math.max(counts.reduce((sum, count) => sum + count, 0), 1);
    const row = element("tr", {}, element("th", { scope: "row" }, part.names[label]));
    counts.forEach((count, predicted) => {
      const cell = part.cells.find((each) => each.true === label && each.predicted === predicted);
      const tableCell = element("td", { class: "right" }, cell ? cellButton(part, cell, count) : `${count}`);
      tableCell.style.setProperty("--share", `${Math.round((60 * count) / imageCount)}%`);
      row.append(tableCell);
    });
    body.append(row);
  });
  return element("table", { class: "confusion" }, head, body);
}

function makeConfusion(image, part) {
  if (!part.matrix && !part.cells.length) return;
  const box = element("div", { class: "live wide", tabindex: 0, role: "region", "aria-label": "Confusion matrix, may scroll sideways" });
  const hint = part.cells.length ? " Press an underlined number to see images." : "";
  const caption = "Test images by true class (rows) and predicted class (columns).";
  if (part.matrix) {
    box.append(element("p", {}, caption + hint), matrixTable(part));
    image.classList.add("still");
  } else {
    const name = (cell) => `${part.names[cell.true]} → ${part.names[cell.predicted]}: ${cell.count}`;
    const items = part.cells.map((cell) => element("li", {}, cellButton(part, cell, name(cell))));
    box.append(element("p", {}, "Wrong predictions, with images:"), element("ul", { class: "pairs" }, ...items));
  }
  (image.closest("figure") || image).after(box);
}
