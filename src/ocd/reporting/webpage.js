// Tables that sort and figures that zoom. Without this script the page shows the same, unsorted.
"use strict";

const DASH = "—";
const NUMBER = /^[+\-−]?\d[\d,]*(\.\d+)?/;

function cellText(row, column) {
  const cell = row.cells[column];
  return cell ? cell.textContent.trim() : "";
}

function toNumber(text) {
  const found = text.match(NUMBER);
  return found ? Number(found[0].replaceAll(",", "").replace("−", "-")) : NaN;
}

// Known cells in order, unknown ones behind them whichever way the column is sorted.
function sortedRows(rows, column, direction) {
  const known = rows.filter((row) => !["", DASH].includes(cellText(row, column)));
  const unknown = rows.filter((row) => !known.includes(row));
  const isNumeric = known.every((row) => NUMBER.test(cellText(row, column)));
  const compare = (a, b) =>
    isNumeric
      ? toNumber(cellText(a, column)) - toNumber(cellText(b, column))
      : cellText(a, column).localeCompare(cellText(b, column), "en");
  known.sort((a, b) => (direction === "ascending" ? compare(a, b) : compare(b, a)));
  return [...known, ...unknown];
}

// Ascending, descending, and the report's own order again, in which methods stand in groups.
function makeSortable(table) {
  const body = table.tBodies[0];
  const original = [...body.rows];
  const headers = [...table.tHead.rows[0].cells];
  const next = { none: "ascending", ascending: "descending", descending: "none" };
  headers.forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.title = "sort by this column";
    button.append(...header.childNodes);
    header.append(button);
    header.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const direction = next[header.getAttribute("aria-sort")];
      headers.forEach((other) => other.setAttribute("aria-sort", "none"));
      header.setAttribute("aria-sort", direction);
      const plain = original.filter((row) => !row.classList.contains("group"));
      body.replaceChildren(...(direction === "none" ? original : sortedRows(plain, column, direction)));
    });
  });
}

function makeZoom() {
  const dialog = document.createElement("dialog");
  const tools = document.createElement("div");
  const view = document.createElement("div");
  const image = document.createElement("img");
  tools.className = "tools";
  view.className = "view";
  view.tabIndex = 0;
  view.append(image);
  let width = 100; // per cent of the dialog
  const show = (wanted) => {
    width = Math.min(600, Math.max(25, wanted));
    image.style.width = `${width}%`;
  };
  const button = (text, label, act) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    made.setAttribute("aria-label", label);
    made.addEventListener("click", act);
    tools.append(made);
  };
  button("+", "larger", () => show(width * 1.4));
  button("−", "smaller", () => show(width / 1.4));
  button("Close", "close", () => dialog.close());
  dialog.append(tools, view);
  document.body.append(dialog);
  document.querySelectorAll("figure img").forEach((figure) => {
    const opener = document.createElement("button");
    opener.type = "button";
    opener.setAttribute("aria-label", `enlarge: ${figure.alt}`);
    figure.replaceWith(opener);
    opener.append(figure);
    opener.addEventListener("click", () => {
      image.src = figure.src;
      image.alt = figure.alt;
      dialog.setAttribute("aria-label", figure.alt);
      dialog.showModal();
      show(100);
    });
  });
}

document.querySelectorAll("table").forEach(makeSortable);
if (document.querySelector("figure img")) makeZoom();
