// The script of report.html. It makes tables sortable, switches rows of curves on and off, and shows
// the images behind the confusion matrix. Without it, the page shows the same values in pictures and
// tables; in print, it shows the pictures again (see report.css). page.py joins the files of this
// folder into one function, so that they share their names.
// Names come from users: they are only ever set as text, never as HTML.

const dataElement = document.getElementById("report-data");
const data = dataElement ? JSON.parse(dataElement.textContent) : { curves: [], parts: {} };

/** Create an HTML element; children are elements or text. */
function element(tag, attributes = {}, ...children) {
  const created = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) created.setAttribute(name, value);
  created.append(...children);
  return created;
}
