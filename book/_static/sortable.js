// Tables of results can be sorted: each header becomes a button (ascending, descending, as it was).
"use strict";

(() => {
  const NUMBER = /^[+\-\u2212]?(\d[\d,]*\.?\d*|\.\d+)(e[+-]?\d+)?(?=$|[\s%])/i;
  const NOTHING = /^(|nan|none|<na>|nat|[\u2013\u2014-])$/i;

  // "62.5 ± 0.4" sorts by 62.5; texts come after numbers, and empty cells last whichever way is sorted.
  function key(text) {
    const trimmed = text.trim();
    if (NOTHING.test(trimmed)) return { rank: 2 };
    const match = trimmed.match(NUMBER);
    if (!match) return { rank: 1, value: trimmed };
    return { rank: 0, value: Number(match[0].replaceAll(",", "").replace("\u2212", "-")) };
  }

  function compare(a, b, sign) {
    if (a.rank !== b.rank) return a.rank === 2 || b.rank === 2 ? a.rank - b.rank : sign * (a.rank - b.rank);
    if (a.rank === 2) return 0;
    return sign * (a.rank === 0 ? a.value - b.value : a.value.localeCompare(b.value, "en", { numeric: true }));
  }

  // pandas gives names of the index a row of their own; they go into the empty cells above them.
  function mergeHeaderRows(head) {
    if (head.rows.length !== 2) return;
    const [first, second] = head.rows;
    const fits = [...second.cells].every((cell, i) => !cell.textContent.trim() || !first.cells[i]?.textContent.trim());
    if (!fits || first.cells.length !== second.cells.length) return;
    [...second.cells].forEach((cell, i) => {
      if (cell.textContent.trim()) first.cells[i].textContent = cell.textContent;
    });
    second.remove();
  }

  // A cell that spans rows is written out, so that each row can move.
  function spellOutSpans(body) {
    for (const row of body.rows) {
      for (const cell of [...row.cells]) {
        const below = [...body.rows].slice(row.sectionRowIndex + 1, row.sectionRowIndex + cell.rowSpan);
        cell.rowSpan = 1;
        for (const other of below) other.insertBefore(cell.cloneNode(true), other.cells[cell.cellIndex] ?? null);
      }
    }
  }

  function makeSortable(table) {
    const [head, body] = [table.tHead, table.tBodies[0]];
    if (!head || !body || body.rows.length < 2) return;
    mergeHeaderRows(head);
    const last = [...head.rows[head.rows.length - 1].cells];
    if (last.some((cell) => cell.colSpan > 1)) return;
    // The lowest cell of a column that says something.
    const named = (i) => [...head.rows].reverse().map((row) => row.cells[i]).find((cell) => cell?.textContent.trim());
    const headers = last.map((cell, i) => (head.rows[0].cells.length === last.length && named(i)) || cell);
    const original = [...body.rows];
    for (const cell of body.querySelectorAll("td")) {
      cell.classList.toggle("sdc-number", key(cell.textContent).rank === 0 && cell.textContent.length < 25);
      cell.classList.toggle("sdc-text", cell.textContent.length > 40);
    }
    headers.forEach((header, column) => {
      const whole = original.filter((row) => row.cells.length === headers.length);
      const numeric = whole.some((row) => row.cells[column].matches(".sdc-number"));
      header.classList.toggle("sdc-number", numeric);
      const name = header.textContent.trim();
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sdc-sort";
      button.append(...header.childNodes);
      if (!name) button.setAttribute("aria-label", "row names");
      header.replaceChildren(button);
      header.scope = "col";
      button.addEventListener("click", () => {
        const next = { ascending: "descending", descending: null }[header.ariaSort];
        const order = next === undefined ? "ascending" : next;
        headers.forEach((other) => other.removeAttribute("aria-sort"));
        if (order) header.setAttribute("aria-sort", order);
        spellOutSpans(body);
        const sign = order === "descending" ? -1 : 1;
        const keyed = original.map((row) => [key(row.cells[column].textContent), row]);
        if (order) keyed.sort((a, b) => compare(a[0], b[0], sign));
        body.append(...keyed.map(([, row]) => row));
      });
    });
  }

  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll("main table.dataframe").forEach(makeSortable);
  });
})();
