"use strict";
// Tables: a button in every header sorts by its column, first up, then down. Numbers by value, what is none last.
for (const table of document.querySelectorAll("table")) {
  const heads = [...[...table.tHead.rows].at(-1).cells];
  heads.forEach((head, place) => {
    if (!head.textContent.trim()) return;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      sort(table.tBodies[0], place, down, head.classList.contains("number"));
    });
  });
}

function sort(body, place, down, numeric) {
  // A line that belongs to the one above goes with it.
  const blocks = [];
  for (const row of body.rows) {
    if (row.classList.contains("belongs")) blocks.at(-1).push(row);
    else blocks.push([row]);
  }
  const value = (block) => {
    const text = block[0].cells[place].textContent.trim();
    const number = Number.parseFloat(text.replace("\u2212", "-").replaceAll(",", ""));
    return numeric ? (Number.isNaN(number) ? null : number) : text || null;
  };
  const order = (a, b) => (numeric ? a - b : a.localeCompare(b, "en", { numeric: true }));
  const keyed = blocks.map((block) => [value(block), block]);
  keyed.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : down ? order(b, a) : order(a, b)));
  body.append(...keyed.flatMap(([, block]) => block));
}

// Charts: a point that is pointed at or focused says its values. Tab enters a chart, arrows go on, Escape hides.
for (const chart of document.querySelectorAll(".chart")) {
  const points = [...chart.querySelectorAll(".point")];
  if (!points.length) continue;
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  tip.setAttribute("aria-hidden", "true"); // the point's own name says the same
  chart.append(tip);
  points[0].setAttribute("tabindex", "0");
  const show = (point) => {
    tip.textContent = point.getAttribute("aria-label");
    tip.hidden = false;
    const frame = chart.getBoundingClientRect();
    const box = point.getBoundingClientRect();
    const left = Math.min(Math.max(0, box.left + box.width / 2 - frame.left - tip.offsetWidth / 2), frame.width - tip.offsetWidth);
    const above = box.top - frame.top - tip.offsetHeight - 4;
    tip.style.left = `${left}px`;
    tip.style.top = `${above < 0 ? box.bottom - frame.top + 4 : above}px`;
  };
  const hide = () => {
    const focused = points.find((point) => point === document.activeElement);
    if (focused) show(focused);
    else tip.hidden = true;
  };
  points.forEach((point, place) => {
    point.addEventListener("pointerenter", () => show(point));
    point.addEventListener("pointerleave", (event) => {
      if (event.relatedTarget !== tip) hide();
    });
    point.addEventListener("click", () => point.focus());
    point.addEventListener("focus", () => {
      points.forEach((other) => other.setAttribute("tabindex", other === point ? "0" : "-1"));
      show(point);
    });
    point.addEventListener("blur", hide);
    point.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      const next = { Home: 0, End: points.length - 1 }[event.key] ?? (step && (place + step + points.length) % points.length);
      if (event.key === "Escape") tip.hidden = true;
      else if (next !== undefined) {
        event.preventDefault();
        points[next].focus();
      }
    });
  });
  tip.addEventListener("pointerleave", hide);
}
