// Tables with the class `sortable`: a click on a heading sorts by what its cells show.
"use strict";

function setUpSorting() {
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = make("button", { type: "button", class: "sort" }, head.textContent);
      button.addEventListener("click", () => sortBy(table, head, column));
      head.replaceChildren(button);
    });
  }
}

function sortBy(table, head, column) {
  const down = head.getAttribute("aria-sort") === "ascending";
  const keyed = [...table.tBodies[0].rows].map((row) => [sortKey(row.cells[column]), row]);
  keyed.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null);  // what is missing stands last
    const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
    return down ? -order : order;
  });
  table.tBodies[0].append(...keyed.map(([, row]) => row));
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
}

function sortKey(cell) {
  const { value } = cell.dataset;
  if (value === undefined) return cell.textContent.trim();
  return value === "" ? null : Number(value);
}
