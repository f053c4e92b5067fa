// Tables of results sort and search by DataTables, which itables carries (itables.js, made when the book is built).
"use strict";

(() => {
  const NUMBER = /^[+\-\u2212]?(\d[\d,]*\.?\d*|\.\d+)(e[+-]?\d+)?(?=$|[\s%])/i;
  const NOTHING = /^(|nan|none|<na>|nat|[\u2013\u2014-])$/i;
  const words = (text) => String(text ?? "").replace(/<[^>]*>/g, "").trim();

  // "62.5 ± 0.4" sorts by 62.5, and what is empty comes last whichever way is sorted.
  function numbers(DataTable) {
    const order = (sign) => (a, b) => Number.isNaN(a) - Number.isNaN(b) || sign * (a - b);
    DataTable.type("sdc-number", {
      className: "dt-type-numeric",
      detect: { oneOf: (text) => NUMBER.test(words(text)), allOf: (text) => NUMBER.test(words(text)) || NOTHING.test(words(text)) },
      order: {
        pre: (text) => Number((words(text).match(NUMBER)?.[0] ?? "NaN").replaceAll(",", "").replace("\u2212", "-")),
        asc: order(1),
        desc: order(-1),
      },
    });
  }

  // pandas gives names of the index a row of their own; they go into the empty cells above them.
  function mergeHeaderRows(head) {
    const [first, second] = head.rows;
    if (head.rows.length !== 2 || first.cells.length !== second.cells.length) return;
    if ([...second.cells].some((cell, i) => words(cell.textContent) && words(first.cells[i].textContent))) return;
    [...second.cells].forEach((cell, i) => { first.cells[i].textContent ||= cell.textContent; });
    second.remove();
  }

  // A cell that spans rows is written out, so that each row can move.
  function spellOutSpans(body) {
    for (const row of body.rows) for (const cell of [...row.cells]) {
      const below = [...body.rows].slice(row.sectionRowIndex + 1, row.sectionRowIndex + cell.rowSpan);
      cell.rowSpan = 1;
      for (const other of below) other.insertBefore(cell.cloneNode(true), other.cells[cell.cellIndex] ?? null);
    }
  }

  async function start() {
    const bundle = Object.keys(window).find((name) => name.startsWith("_itables_"));
    if (!bundle) return; // a page without tables
    const { default: DataTable, set_or_remove_dark_class: followTheme } = await window[bundle];
    numbers(DataTable);
    followTheme();
    for (const table of document.querySelectorAll(".bd-content table.dataframe")) {
      if (!table.tHead || !table.tBodies[0]) continue;
      mergeHeaderRows(table.tHead);
      spellOutSpans(table.tBodies[0]);
      for (const cell of table.querySelectorAll("td")) cell.classList.toggle("sdc-text", cell.textContent.length > 40);
      const long = table.tBodies[0].rows.length > 15;
      new DataTable(table, {
        autoWidth: false, info: false, order: [], ordering: table.tBodies[0].rows.length > 1, paging: false,
        layout: { topStart: null, topEnd: long ? "search" : null, bottomStart: null, bottomEnd: null },
      });
    }
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
