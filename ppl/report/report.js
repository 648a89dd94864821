// Sort a table by the column whose heading is clicked; again for the other direction.
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  const original = [...table.tBodies[0].rows];
  const value = (row, i) => {
    const text = row.cells[i].dataset.value ?? row.cells[i].textContent;
    const number = parseFloat(text);
    return i === 0 ? text : Number.isNaN(number) ? -Infinity : number;
  };
  headings.forEach((heading, i) => {
    const sort = () => {
      const descending = heading.getAttribute("aria-sort") === "ascending";
      const rows = [...original].sort((a, b) => {
        const [x, y] = [value(a, i), value(b, i)];
        return i === 0 ? x.localeCompare(y, undefined, { numeric: true }) : x - y;
      });
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      table.tBodies[0].append(...(descending ? rows.reverse() : rows));
    };
    heading.tabIndex = 0;
    heading.addEventListener("click", sort);
    heading.addEventListener("keydown", (event) => event.key === "Enter" && sort());
  });
}
