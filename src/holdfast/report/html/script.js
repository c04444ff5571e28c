// Sorting, filtering and the light or dark look. Without it the page still shows everything.
"use strict";

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const headers = [...table.tHead.rows[0].cells];
  const order = [...body.rows];
  headers.forEach((header, column) => {
    header.querySelector("button").addEventListener("click", () => {
      const next = { none: "ascending", ascending: "descending", descending: "none" };
      const sort = next[header.getAttribute("aria-sort")];
      for (const other of headers) other.setAttribute("aria-sort", "none");
      header.setAttribute("aria-sort", sort);
      const sign = sort === "descending" ? -1 : 1;
      const rows = sort === "none" ? order : [...order].sort((a, b) => compare(a, b, column, sign));
      body.append(...rows);
    });
  });
}

// Numbers by their exact value, text by its letters; what has no number comes last either way.
function compare(a, b, column, sign) {
  const [x, y] = [a, b].map((row) => row.cells[column]);
  const numbers = [x, y].map((cell) => cell.dataset.sort);
  if (numbers[0] !== undefined && numbers[1] !== undefined) return sign * (numbers[0] - numbers[1]);
  if (numbers[0] !== undefined || numbers[1] !== undefined) return numbers[0] === undefined ? 1 : -1;
  const words = [x, y].map((cell) => cell.dataset.value ?? cell.textContent);
  return sign * words[0].localeCompare(words[1], undefined, { numeric: true });
}

const filters = document.getElementById("filters");
if (filters) {
  filters.hidden = false;
  const choices = [...filters.querySelectorAll("select")];
  const show = () => {
    for (const table of document.querySelectorAll("table.sortable")) {
      const rows = [...table.tBodies[0].rows];
      for (const row of rows) {
        row.hidden = choices.some(
          (one) => one.value && row.cells[one.dataset.column].dataset.value !== one.value,
        );
      }
      if (table.id === "table") {
        const shown = rows.filter((row) => !row.hidden).length;
        document.getElementById("count").textContent = `${shown} of ${rows.length} rows`;
      }
    }
  };
  filters.addEventListener("change", show);
  filters.addEventListener("submit", (event) => event.preventDefault());
  show();
}

const theme = document.getElementById("theme");
const prefersDark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme ?? (prefersDark.matches ? "dark" : "light")) === "dark";
const name = () => {
  theme.textContent = isDark() ? "Light" : "Dark";
  theme.setAttribute("aria-label", `Change to the ${theme.textContent.toLowerCase()} look`);
};
theme.hidden = false;
theme.addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  name();
});
prefersDark.addEventListener("change", name);
name();
