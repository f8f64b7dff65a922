const SECONDS = { s: 1, min: 60, h: 3600, days: 86400 };
const DURATION = /^(?:\d+ (?:s|min|h|days)\s*)+$/;
const UPPER_BOUND = /^(?:less than|<)\s*(\d+(?:\.\d+)?)$/;
const NUMBER = /^[<>≤≥≈~]?\s*[+\-−]?\d[\d,]*(\.\d+)?(e[+-]?\d+)?/i;
const collator = new Intl.Collator("en", { numeric: true });

/** Return a number for "92.17 ± 0.12%", "+1.23" or "2 h 5 min", null for "–", or else the text. */
function sortKey(text) {
  if (/^[–—-]?$/.test(text)) return null;
  if (text === "a tie") return 0;
  const bound = UPPER_BOUND.exec(text);
  if (bound) return Number(bound[1]) / 2; // below the bound, and above 0
  if (DURATION.test(text)) {
    const parts = [...text.matchAll(/(\d+) (\w+)/g)];
    return parts.reduce((sum, [, count, unit]) => sum + count * SECONDS[unit], 0);
  }
  const numberMatch = NUMBER.exec(text);
  return numberMatch ? Number(numberMatch[0].replace(/[<>≤≥≈~,\s]/g, "").replace("−", "-")) : text;
}

/** Compare two sort keys; cells without a value are always last, whatever the direction. */
function compareSortKeys(first, second, direction) {
  if (first === null && second === null) return 0;
  if (first === null) return 1;
  if (second === null) return -1;
  const areNumbers = typeof first === "number" && typeof second === "number";
  return direction * (areNumbers ? first - second : collator.compare(first, second));
}

/** Put a button into each column header: ascending, then descending, then the order as written. */
function makeSortable(table) {
  const body = table.tBodies[0];
  if (!table.tHead || !body || body.rows.length < 2) return;
  const rowsAsWritten = [...body.rows];
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => {
    if (!header.textContent.trim()) return;
    const button = element("button", { type: "button", class: "sort" });
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const next = { ascending: "descending", descending: "none" };
      const order = next[header.getAttribute("aria-sort")] || "ascending";
      for (const other of headers) other.removeAttribute("aria-sort");
      header.setAttribute("aria-sort", order);
      const direction = order === "descending" ? -1 : 1;
      const keyedRows = rowsAsWritten.map((row) => {
        return { row, key: sortKey(row.cells[column].textContent.trim()) };
      });
      if (order !== "none") {
        keyedRows.sort((first, second) => compareSortKeys(first.key, second.key, direction));
      }
      body.append(...keyedRows.map(({ row }) => row));
    });
  });
}
