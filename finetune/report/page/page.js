/**
 * What readers may do with the page: sort tables, reorder a matrix, point at pictures on a map.
 * Without it, everything is there to be read. It obeys no text of the page and makes elements of none.
 */
"use strict";

const collator = new Intl.Collator(undefined, { numeric: true });

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** Say something to who cannot see what has changed. */
function say(text) {
  document.getElementById("said").textContent = text;
}

// ── tables ──────────────────────────────────────────────────────────────────────────────────────────

const NEXT = { none: "ascending", ascending: "descending", descending: "none" };
const NOTHING = new Set(["", "–", "nan"]);

function makeSortable(table) {
  const body = table.tBodies[0];
  const given = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = element("button", { type: "button", dir: "auto" }, ...head.childNodes);
    head.append(button);
    head.ariaSort = "none";
    button.addEventListener("click", () => {
      const direction = NEXT[head.ariaSort];
      for (const each of heads) each.ariaSort = "none";
      head.ariaSort = direction;
      body.append(...sorted(given, column, direction, head.dataset.sort === "number"));
      say(direction === "none" ? "In the order as given." : `Sorted by ${button.textContent}, ${direction}.`);
    });
  });
}

/** Return rows in order; equal ones stay as they are given, and cells without a value come last both ways. */
function sorted(rows, column, direction, isNumber) {
  if (direction === "none") return rows;
  const sign = direction === "ascending" ? 1 : -1;
  const texts = new Map(rows.map((row) => [row, row.cells[column].textContent.trim()]));
  const valued = rows.filter((row) => !NOTHING.has(texts.get(row)));
  const compare = isNumber ? (a, b) => numberIn(a) - numberIn(b) : collator.compare;
  valued.sort((a, b) => sign * compare(texts.get(a), texts.get(b)));
  return [...valued, ...rows.filter((row) => NOTHING.has(texts.get(row)))];
}

function numberIn(text) {
  const [digits] = text.replaceAll("−", "-").match(/[-+]?\d[\d.,]*(e[-+]?\d+)?/) ?? ["0"];
  return Number.parseFloat(digits.replaceAll(",", ""));
}

// ── confusion matrices ──────────────────────────────────────────────────────────────────────────────

function makeReorderable(matrix) {
  const table = matrix.querySelector("table");
  const orders = JSON.parse(table.dataset.orders);
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const cells = [table.tHead.rows[0], ...rows].map((row) => [row, [...row.cells].slice(1)]);
  const select = element("select", {}, ...Object.keys(orders).map((name) => new Option(name)));
  select.addEventListener("change", () => {
    const order = orders[select.value];
    for (const [row, given] of cells) row.append(...order.map((at) => given[at]));
    body.append(...order.map((at) => rows[at]));
    say(`Labels are ${select.value}.`);
  });
  const line = element("span", { className: "pointed", ariaHidden: "true" }, "Point at a cell to read what it counts.");
  table.addEventListener("mouseover", (event) => tellCell(event.target.closest("td"), table, line));
  matrix.prepend(element("p", { className: "controls" }, element("label", {}, "Labels ", select), line));
}

function tellCell(cell, table, line) {
  if (!cell) return;
  for (const head of table.querySelectorAll(".at")) head.classList.remove("at");
  const [truth, answer] = [cell.parentElement.cells[0], table.tHead.rows[0].cells[cell.cellIndex]];
  for (const head of [truth, answer]) head.classList.add("at");
  const [is, said] = [truth, answer].map((head) => element("bdi", {}, head.textContent));
  const counted = cell.textContent === "1" ? "1 picture" : `${cell.textContent} pictures`;
  line.replaceChildren(`${counted} of `, is, " answered with ", said);
}

// ── maps of pictures ────────────────────────────────────────────────────────────────────────────────

const HINT = "Point at a picture, or come here with the Tab key and go on with the arrow keys.";
const KEYS = "The arrow keys go to the next picture, Page Up and Page Down through all of them, Escape leaves it.";
const NEAR_PX = 24;
const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function makeMap(figure) {
  const drawing = figure.querySelector(".beside svg");
  const panel = figure.querySelector(".panel");
  const ring = drawing.querySelector(".ring");
  const facts = JSON.parse(figure.querySelector("script").textContent);
  const paths = [...drawing.querySelectorAll("path")];
  const places = paths.map((path) => path.getAttribute("d").match(/^M([\d.]+) ([\d.]+)/).slice(1).map(Number));
  let current = null;

  function show(at, isSpoken) {
    current = at;
    ring.setAttribute("visibility", at === null ? "hidden" : "visible");
    panel.replaceChildren(...(at === null ? [element("p", { className: "quiet" }, HINT)] : shown(facts[at])));
    if (at === null) return;
    ring.setAttribute("cx", places[at][0]);
    ring.setAttribute("cy", places[at][1]);
    if (isSpoken) say([facts[at].group, ...facts[at].lines, facts[at].missing].filter(Boolean).join(". "));
  }

  function pointed(event) {
    const box = drawing.getBoundingClientRect();
    const scale = drawing.viewBox.baseVal.width / box.width;
    const at = nearest(places, (event.clientX - box.left) * scale, (event.clientY - box.top) * scale, NEAR_PX * scale);
    if (at !== null && at !== current) show(at, false);
  }

  drawing.addEventListener("pointermove", pointed);
  drawing.addEventListener("click", pointed);
  drawing.addEventListener("keydown", (event) => {
    const to = event.key === "Escape" ? null : next(event.key, current, places);
    if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    show(to, true);
    if (to === null) say("");
  });
  drawing.setAttribute("tabindex", "0");
  drawing.setAttribute("role", "application");
  drawing.setAttribute("aria-label", `${drawing.getAttribute("aria-label")} ${KEYS}`);
  figure.querySelector("figcaption").after(groupsToChoose(facts, paths));
  panel.hidden = false;
  show(null, false);
}

function shown(fact) {
  const images = (fact.images ?? []).map((src) => element("img", { src, alt: fact.alt }));
  const missing = fact.missing ? [element("p", { className: "quiet" }, fact.missing)] : [];
  const lines = fact.lines.map((line) => element("p", { dir: "auto" }, line));
  const group = element("p", { className: "group", dir: "auto" }, fact.group);
  return [element("div", { className: "frame" }, ...images, ...missing), group, ...lines];
}

/** Return the number of the place that is nearest, or null where none is within reach. */
function nearest(places, x, y, reach) {
  const distances = places.map(([left, top]) => Math.hypot(left - x, top - y));
  const at = distances.indexOf(Math.min(...distances));
  return distances[at] <= reach ? at : null;
}

/** Return where a key leads to from a place: for arrows, what is near and rather ahead than aside. */
function next(key, from, places) {
  const last = places.length - 1;
  if (key === "Home") return 0;
  if (key === "End") return last;
  if (key === "PageDown") return from === null ? 0 : Math.min(from + 1, last);
  if (key === "PageUp") return from === null ? last : Math.max(from - 1, 0);
  if (!(key in WAYS)) return undefined;
  return from === null ? 0 : ahead(WAYS[key], from, places);
}

function ahead([right, down], from, places) {
  let [best, least] = [from, Infinity];
  places.forEach(([x, y], at) => {
    const [dx, dy] = [x - places[from][0], y - places[from][1]];
    const [forward, aside] = [dx * right + dy * down, Math.abs(dx * down) + Math.abs(dy * right)];
    const far = Math.hypot(forward, 2 * aside);
    if (forward > 0 && far < least) [best, least] = [at, far];
  });
  return best;
}

function groupsToChoose(facts, paths) {
  const groups = [...new Set(facts.map((fact) => fact.group))].sort(collator.compare);
  const select = element("select", {}, new Option("all"), ...groups.map((group) => new Option(group)));
  select.addEventListener("change", () => {
    const chosen = select.selectedIndex ? groups[select.selectedIndex - 1] : null;
    paths.forEach((path, at) => path.classList.toggle("dim", chosen !== null && facts[at].group !== chosen));
  });
  return element("p", { className: "controls" }, element("label", {}, "Show ", select));
}

// ── scrolling ───────────────────────────────────────────────────────────────────────────────────────

/** Keep what scrolls within reach of the Tab key, and what does not out of its way. */
function followSize(region) {
  const follow = () => {
    const scrolls = region.scrollWidth > region.clientWidth || region.scrollHeight > region.clientHeight;
    if (scrolls) region.setAttribute("tabindex", "0");
    else region.removeAttribute("tabindex");
  };
  new ResizeObserver(follow).observe(region);
}

// ── beginning ───────────────────────────────────────────────────────────────────────────────────────

document.querySelectorAll("table.sortable").forEach(makeSortable);
document.querySelectorAll(".matrix").forEach(makeReorderable);
document.querySelectorAll("figure.map").forEach(makeMap);
document.querySelectorAll(".scroll").forEach(followSize);
