// Sorts and filters the list of layers, gives it as CSV, and opens what is folded while the page is printed.
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  addEventListener("beforeprint", () => all("details:not([open])").forEach((d) => { d.open = d.folded = true; }));
  addEventListener("afterprint", () => all("details").forEach((d) => { if (d.folded) d.open = d.folded = false; }));
  const table = document.getElementById("layers");
  if (!table) return;
  const body = table.tBodies[0], rows = [...body.rows], heads = all("th[data-csv]", table);
  const text = (row, column) => row.cells[column].textContent.trim();
  const number = (row, column) => {
    const shown = text(row, column).replaceAll(",", "");
    return shown === "exact" ? Infinity : parseFloat(shown);
  };
  const make = (tag, properties) => Object.assign(document.createElement(tag), properties);

  heads.forEach((head, column) => {
    const button = make("button", { type: "button", textContent: head.textContent });
    button.onclick = () => {
      const down = head.ariaSort === "ascending", sign = down ? -1 : 1;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.ariaSort = down ? "descending" : "ascending";
      rows.sort((a, b) => {
        if (!head.classList.contains("n")) return sign * text(a, column).localeCompare(text(b, column), "en", { numeric: true });
        const [x, y] = [number(a, column), number(b, column)];
        if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y);  // what has no number comes last, either way
        return x === y ? 0 : sign * (x < y ? -1 : 1);
      });
      body.append(...rows);
    };
    head.replaceChildren(button);
  });

  const filter = make("input", { type: "search", placeholder: "Filter: qkv, stream, blocks.3 ..." });
  filter.ariaLabel = "Show layers with all of these words";
  const shown = make("output", {});
  const count = () => { shown.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length}`; };
  filter.oninput = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    rows.forEach((row) => {
      const own = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => own.includes(word));
    });
    count();
  };
  count();

  const save = make("button", { type: "button", textContent: "Save as CSV", title: "The rows that are shown, as they are sorted" });
  save.onclick = () => {
    const quoted = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
    const value = (row, head, column) => {
      const own = text(row, column);
      if (!head.classList.contains("n")) return quoted(own);
      return own === "–" ? "" : own === "exact" ? "inf" : own.replaceAll(",", "");
    };
    const lines = rows.filter((row) => !row.hidden).map((row) => heads.map((head, i) => value(row, head, i)));
    const csv = [heads.map((head) => head.dataset.csv), ...lines].map((line) => `${line.join(",")}\n`).join("");
    make("a", { download: table.dataset.file, href: `data:text/csv;charset=utf-8,${encodeURIComponent(csv)}` }).click();
  };
  const tools = make("div", { className: "tools" });
  tools.append(filter, shown, save);
  table.parentElement.before(tools);
})();
