"use strict";
// A column's title sorts its table: once, the other way around, and as it was. What is unknown
// comes last either way.
(() => {
  const order = (row, column) => row.children[column].dataset.order;

  function compared(a, b, isNumber) {
    return isNumber ? Number(a) - Number(b) : a.localeCompare(b);
  }

  function sort(body, rows, column, direction, isNumber) {
    const sign = direction === "descending" ? -1 : 1;
    const known = (row) => order(row, column) !== "";
    const sorted = rows.filter(known).sort((a, b) => sign * compared(order(a, column), order(b, column), isNumber));
    body.append(...sorted, ...rows.filter((row) => !known(row)));
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const isNumber = !head.classList.contains("text");
      // What is better in most columns comes first at the first touch.
      const turns = head.classList.contains("number") ? ["descending", "ascending"] : ["ascending", "descending"];
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const next = turns[turns.indexOf(head.getAttribute("aria-sort")) + 1];
        for (const each of heads) each.removeAttribute("aria-sort");
        if (next === undefined) {
          body.append(...rows);
          return;
        }
        head.setAttribute("aria-sort", next);
        sort(body, rows, column, next, isNumber);
      });
    });
  }
})();
