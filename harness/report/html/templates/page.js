"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const form = document.getElementById("filters");
  const claims = all("details.claim");
  const count = document.getElementById("count");

  // Filters: a claim is shown where it fits itself and one of its records does.

  function fits(record, model, verdict) {
    const { model: id, family, verdict: found, surprise } = record.dataset;
    const ofModel = !model || model === `model:${id}` || model === `family:${family}`;
    const ofVerdict = !verdict || verdict === found || (verdict === "surprise" && surprise !== undefined);
    return ofModel && ofVerdict;
  }

  function filter() {
    const { model, mechanism, verdict, paper, words } = Object.fromEntries(new FormData(form));
    const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
    let shownClaims = 0;
    let shownRecords = 0;
    for (const claim of claims) {
      const records = all("details.record", claim);
      const fitting = records.filter((record) => fits(record, model, verdict));
      for (const record of records) record.hidden = !fitting.includes(record);
      for (const family of all(".family", claim)) family.hidden = !all("details.record:not([hidden])", family).length;
      const text = wanted.length ? claim.firstElementChild.textContent.toLowerCase() : "";
      const ofMechanism = !mechanism || mechanism === claim.dataset.mechanism;
      const ofPaper = !paper || paper === claim.dataset.paper;
      claim.hidden = !(fitting.length && ofMechanism && ofPaper && wanted.every((word) => text.includes(word)));
      shownClaims += claim.hidden ? 0 : 1;
      shownRecords += claim.hidden ? 0 : fitting.length;
    }
    for (const group of all("section.group")) {
      group.querySelector(".none").hidden = all("details.claim:not([hidden])", group).length > 0;
    }
    filterMatrices(model ? form.elements.model.selectedOptions[0].dataset.column : "");
    count.textContent = `${shownClaims} of ${claims.length} claims, ${shownRecords} records`;
  }

  // The matrices of the first page have a row per claim, named or linked in its first cell, and a column per family.

  const byName = new Map([...claims].reverse().map((claim) => [claim.querySelector("h3").textContent, claim]));
  const familyOf = (label) => label.replace(/@[\d.,]+$/, "");
  const claimOf = (row) => {
    const link = row.cells[0].querySelector('a[href^="#claim-"]');
    return link ? document.getElementById(link.hash.slice(1)) : byName.get(row.cells[0].textContent);
  };
  const matrices = all("#summary table").filter((table) => all("tbody tr", table).every(claimOf));

  function filterMatrices(wanted) {
    for (const table of matrices) {
      const columns = all("thead tr > *", table).map((cell) => familyOf(cell.textContent));
      for (const row of all("tr", table)) {
        [...row.children].forEach((cell, place) => {
          cell.hidden = Boolean(place && wanted && columns[place] !== wanted);
        });
      }
      for (const row of all("tbody tr", table)) row.hidden = claimOf(row).hidden;
    }
  }

  function sort() {
    const key = `by${form.elements.order.value.replace(/^./, (letter) => letter.toUpperCase())}`;
    const rank = (claim) => Number(claim?.dataset[key] ?? Infinity);
    for (const group of all("section.group")) {
      group.append(...all("details.claim", group).sort((one, other) => rank(one) - rank(other)));
    }
    for (const table of matrices) {
      const rows = all("tbody tr", table).sort((one, other) => rank(claimOf(one)) - rank(claimOf(other)));
      table.tBodies[0].append(...rows);
    }
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", filter);
  form.elements.order.addEventListener("change", sort);
  form.addEventListener("reset", (event) => {
    event.preventDefault();  // the event comes before the fields change: changing them here leaves nothing to wait for
    for (const field of form.elements) {
      if (field.options) field.selectedIndex = 0;
      else if (field.type === "search") field.value = "";
    }
    sort();
    filter();
  });
  document.getElementById("unfold").addEventListener("click", () => {
    for (const claim of claims) claim.open = !claim.hidden;
  });
  document.getElementById("fold").addEventListener("click", () => {
    for (const details of all("details")) details.open = false;
  });

  // A link to a claim opens it, and shows it where a filter hides it.

  function openTarget() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target?.matches("details")) return;
    if (target.hidden) form.reset();
    target.open = true;
    setTimeout(() => target.scrollIntoView());
  }
  addEventListener("hashchange", openTarget);
  document.addEventListener("click", (event) => {
    // The same link a second time changes no hash.
    if (event.target instanceof Element && event.target.closest('a[href^="#"]')?.hash === location.hash) openTarget();
  });

  // Maps: the value of the cell under the pointer, or of the one that arrow keys reach.

  function showCells(figure) {
    const data = JSON.parse(figure.querySelector("script").textContent);
    const picture = figure.querySelector(".picture");
    const box = picture.querySelector("img").dataset.cells.split(" ").map(Number);
    const cursor = document.createElement("div");
    cursor.className = "cursor";
    cursor.hidden = true;
    const reading = document.createElement("output");
    reading.className = "reading";
    reading.textContent = "Point at a cell, or focus the map and use the arrow keys, to read its value.";
    picture.append(cursor);
    picture.parentElement.after(reading);
    picture.tabIndex = 0;
    picture.setAttribute("role", "application");
    picture.setAttribute("aria-label", `${picture.querySelector("img").alt}; arrow keys move from cell to cell`);
    const at = { row: 0, column: 0 };

    function show(row, column) {
      at.row = Math.min(Math.max(row, 0), data.rows.length - 1);
      at.column = Math.min(Math.max(column, 0), data.columns.length - 1);
      const [width, height] = [box[2] / data.columns.length, box[3] / data.rows.length];
      cursor.style.left = `${100 * (box[0] + at.column * width)}%`;
      cursor.style.top = `${100 * (box[1] + at.row * height)}%`;
      cursor.style.width = `${100 * width}%`;
      cursor.style.height = `${100 * height}%`;
      cursor.hidden = false;
      const value = data.values[at.row][at.column];
      reading.textContent = `${data.row} ${data.rows[at.row]}, ${data.column} ${data.columns[at.column]}: `
        + (value === null ? "not measured" : `${value} ${data.unit}`);
    }
    picture.addEventListener("pointermove", (event) => point(event));
    picture.addEventListener("pointerdown", (event) => point(event));
    function point(event) {
      const place = picture.getBoundingClientRect();
      const across = ((event.clientX - place.left) / place.width - box[0]) / box[2];
      const down = ((event.clientY - place.top) / place.height - box[1]) / box[3];
      if (across < 0 || across >= 1 || down < 0 || down >= 1) return;
      show(Math.floor(down * data.rows.length), Math.floor(across * data.columns.length));
    }
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    picture.addEventListener("keydown", (event) => {
      const step = steps[event.key];
      if (!step) return;
      event.preventDefault();
      if (cursor.hidden) show(0, 0);
      else show(at.row + step[0], at.column + step[1]);
    });
    figure.append(valuesTable(data));
  }

  function valuesTable(data) {
    const details = document.createElement("details");
    details.className = "values";
    const summary = document.createElement("summary");
    summary.textContent = "Values as a table";
    details.append(summary);
    details.addEventListener("toggle", () => {
      if (!details.open || details.querySelector("table")) return;
      const table = document.createElement("table");
      const head = table.createTHead().insertRow();
      head.append(cell("th", `${data.row} \\ ${data.column}`, "col"), ...data.columns.map((name) => cell("th", name, "col")));
      const body = table.createTBody();
      data.rows.forEach((name, row) => {
        const values = data.values[row].map((value) => cell("td", value === null ? "not measured" : String(value)));
        body.insertRow().append(cell("th", name, "row"), ...values);
      });
      const scroll = document.createElement("div");
      scroll.className = "scroll";
      scroll.tabIndex = 0;
      scroll.setAttribute("role", "group");
      scroll.setAttribute("aria-label", "Values");
      scroll.append(table);
      details.append(scroll);
    });
    return details;
  }

  function cell(tag, text, scope) {
    const made = document.createElement(tag);
    made.textContent = text;
    if (scope) made.scope = scope;
    return made;
  }

  for (const figure of all("figure.cells")) showCells(figure);

  // On paper nothing can be unfolded.

  let folded = [];
  addEventListener("beforeprint", () => {
    folded = all("details.claim:not([open]), details.record:not([open])");
    for (const details of folded) details.open = true;
    for (const image of all("img")) image.loading = "eager";
  });
  addEventListener("afterprint", () => {
    for (const details of folded) details.open = false;
  });

  filter();
  openTarget();
})();
