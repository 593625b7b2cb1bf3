"use strict";

const find = (id) => document.getElementById(id);
const SAMPLES = 12;  // pictures that a press of a sample button draws
const NEAR = 14;     // a press this near to a point, in CSS pixels, chooses its image

let space;           // what the server told of model and codes
let code, seed;      // what the picture shows
let chosen = null;   // the training image that was chosen last

// ---- asking ----------------------------------------------------------------------------------------------------

const say = (text) => { find("status").textContent = text; };

async function ask(what, question) {
  const options = question && {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(question),
  };
  let reply;
  try {
    reply = await fetch(what, options);
  } catch {
    throw new Error("The explorer has ended. Start it again, and open the address that it prints.");
  }
  const answer = await reply.json();
  if (!reply.ok) throw new Error(answer.error);
  say("");
  return answer;
}

// One request at a time; of those that wait, only the newest is sent, so that a fast hand does not pile up work.
let busy = false, waiting = null;
async function latest(job) {
  waiting = job;
  if (busy) return;
  busy = true;
  while (waiting) {
    const next = waiting;
    waiting = null;
    try { await next(); } catch (error) { say(error.message); }
  }
  busy = false;
}

const show = () => latest(async () => {
  find("picture").src = (await ask("decode", { code, seed })).image;
});

const look = (index) => latest(async () => {
  const found = await ask("look", { index, seed });
  chosen = found.index;
  code = found.code;
  find("picture").src = found.reconstruction;
  fillChosen(found);
  refresh();
});

// ---- codes -----------------------------------------------------------------------------------------------------

const value = (axis) => axis.direction.reduce((sum, d, i) => sum + d * (code[i] - space.origin[i]), 0);

function move(axis, to) {
  const step = to - value(axis);
  code = code.map((z, i) => z + step * axis.direction[i]);
}

function categoryOf(part) {
  let best = part.start;
  for (let i = part.start; i < part.stop; i++) if (code[i] > code[best]) best = i;
  return best - part.start;
}

function setCategory(part, k) {
  code = code.map((z, i) => (i < part.start || i >= part.stop ? z : Number(i - part.start === k)));
}

// Weights of the corners at a place between them: by the inverse square of their distances.
function setMixture(part, place) {
  const squared = space.corners.map(([x, y]) => (x - place[0]) ** 2 + (y - place[1]) ** 2);
  const nearest = squared.indexOf(Math.min(...squared));
  if (squared[nearest] < 0.01) return setCategory(part, nearest);
  const total = squared.reduce((sum, s) => sum + 1 / s, 0);
  code = code.map((z, i) => (i < part.start || i >= part.stop ? z : 1 / squared[i - part.start] / total));
}

function place() {
  if (mixture) return mixture;
  if (space.corners) {
    const { start } = space.categories[0];
    return [0, 1].map((side) => space.corners.reduce((sum, corner, k) => sum + code[start + k] * corner[side], 0));
  }
  return [0, 1].map((k) => (space.axes[k] ? value(space.axes[k]) : 0));
}

let mixture = null;  // where the map was pressed, as long as the code is that of this place
function go([x, y]) {
  const { middle, half } = space.view;
  const inside = [x, y].map((v, k) => Math.min(Math.max(v, middle[k] - half), middle[k] + half));
  if (space.corners) {
    mixture = inside;
    setMixture(space.categories[0], inside);
  } else {
    space.axes.slice(0, 2).forEach((axis, k) => move(axis, inside[k]));
  }
  refresh(true);
  show();
}

function refresh(keep) {
  if (!keep) mixture = null;
  space.categories.forEach((part, number) => {
    const radio = find(`category-${number}-${categoryOf(part)}`);
    if (radio) radio.checked = true;
  });
  space.axes.forEach((axis, k) => {
    find(`slider-${k}`).value = value(axis);
    find(`value-${k}`).textContent = value(axis).toFixed(2);
  });
  draw();
}

// ---- the map ---------------------------------------------------------------------------------------------------

const map = find("map");
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const pointColour = (group) => (group >= 0 ? space.palette[group % space.palette.length] : "#8c8c8c");

function onScreen([x, y]) {
  const { middle, half } = space.view, side = map.clientWidth;
  return [(x - middle[0] + half) / (2 * half) * side, (middle[1] + half - y) / (2 * half) * side];
}

function fromScreen(event) {
  const { middle, half } = space.view, box = map.getBoundingClientRect();
  return [
    middle[0] - half + (event.clientX - box.left) / box.width * 2 * half,
    middle[1] + half - (event.clientY - box.top) / box.height * 2 * half,
  ];
}

function ring(pen, [x, y], radius) {
  pen.beginPath();
  pen.arc(x, y, radius, 0, 2 * Math.PI);
  pen.stroke();
}

function draw() {
  const scale = window.devicePixelRatio || 1, side = map.clientWidth;
  map.width = map.height = Math.round(side * scale);
  const pen = map.getContext("2d");
  pen.scale(scale, scale);
  pen.globalAlpha = 0.7;
  space.points.forEach((point, k) => {
    const [x, y] = onScreen(point);
    pen.fillStyle = pointColour(space.groups[k]);
    pen.beginPath();
    pen.arc(x, y, 2.6, 0, 2 * Math.PI);
    pen.fill();
  });
  pen.globalAlpha = 1;
  pen.strokeStyle = pen.fillStyle = colour("--ink");
  pen.lineWidth = 2;
  if (chosen !== null) ring(pen, onScreen(space.points[chosen]), 7);
  pen.font = `600 14px ${colour("--sans")}`;
  pen.textAlign = "center";
  (space.corners || []).forEach((corner, k) => {
    const [x, y] = onScreen(corner.map((v) => 1.16 * v));
    pen.fillText(space.categories[0].names[k].slice(0, 16), x, y + 5);
  });
  cross(pen, onScreen(place()));
}

// Where the code is; the halo keeps it apart from points of any colour.
function cross(pen, [x, y]) {
  for (const [name, width] of [["--paper", 6], ["--ink", 2]]) {
    pen.strokeStyle = colour(name);
    pen.lineWidth = width;
    ring(pen, [x, y], 9);
    pen.beginPath();
    for (const [a, b] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      pen.moveTo(x + 9 * a, y + 9 * b);
      pen.lineTo(x + 16 * a, y + 16 * b);
    }
    pen.stroke();
  }
}

// The training image nearest to a place of the map, if it is near enough.
function nearest([x, y], within) {
  let best = -1, least = within ** 2;
  space.points.forEach((point, k) => {
    const [px, py] = onScreen(point), squared = (px - x) ** 2 + (py - y) ** 2;
    if (squared < least) [best, least] = [k, squared];
  });
  return best;
}

function listen() {
  let pressed = null;
  map.addEventListener("pointerdown", (event) => {
    map.setPointerCapture(event.pointerId);
    pressed = { x: event.clientX, y: event.clientY, moved: false };
    go(fromScreen(event));
  });
  map.addEventListener("pointermove", (event) => {
    if (!pressed) return;
    pressed.moved ||= Math.hypot(event.clientX - pressed.x, event.clientY - pressed.y) > 4;
    go(fromScreen(event));
  });
  map.addEventListener("pointerup", (event) => {
    const found = pressed && !pressed.moved ? nearest(onScreen(fromScreen(event)), NEAR) : -1;
    pressed = null;
    if (found >= 0) look(found);
  });
  map.addEventListener("pointercancel", () => { pressed = null; });
  map.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    if (event.key === "Enter") {
      const found = nearest(onScreen(place()), Infinity);
      if (found >= 0) look(found);
    } else if (event.key in steps) {
      event.preventDefault();
      const size = space.view.half / (event.shiftKey ? 8 : 40);
      go(place().map((v, k) => v + size * steps[event.key][k]));
    }
  });
  new ResizeObserver(draw).observe(map);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  find("renew").addEventListener("click", () => {
    seed += 1;
    show();
  });
}

// ---- parts of the page -----------------------------------------------------------------------------------------

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, given] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), given);
    else made.setAttribute(key, given);
  }
  made.append(...children);
  return made;
}

function tile(image, words, alt, press) {
  const lines = words.filter(Boolean).map((text) => element("small", { title: text }, text));
  const picture = element("img", { src: image, alt });
  return element("li", {}, element("button", { type: "button", onclick: press }, picture, ...lines));
}

const called = (image) => image.label ?? (image.name || `image ${image.index}`);

function imageTile(image, ...words) {
  return tile(image.image, [image.label, ...words], `training image, ${called(image)}`, () => look(image.index));
}

function fillChosen(found) {
  find("chosen").hidden = false;
  find("chosen-name").textContent = [found.label, found.name].filter(Boolean).join(", ") || String(found.index);
  find("original").src = found.image;
  find("rebuilt").src = found.reconstruction;
  find("code").textContent = found.code.map((z) => z.toFixed(3)).join("  ");
  find("neighbours").replaceChildren(
    ...found.neighbours.map((image) => imageTile(image, image.distance.toFixed(2))),
  );
}

function addCategories() {
  space.categories.forEach((part, number) => {
    const chips = part.names.map((name, k) => {
      const id = `category-${number}-${k}`;
      const press = () => {
        setCategory(part, k);
        refresh();
        show();
      };
      const radio = element("input", { type: "radio", name: `category-${number}`, id, onchange: press });
      return element("label", {}, radio, element("span", {}, name));
    });
    const group = element("div", { class: "chips" }, ...chips);
    find("categories").append(element("fieldset", {}, element("legend", {}, space.categoryWord), group));
  });
}

function addSliders() {
  space.axes.forEach((axis, k) => {
    const press = (event) => {
      move(axis, Number(event.target.value));
      refresh();
      show();
    };
    const range = { type: "range", id: `slider-${k}`, min: axis.low, max: axis.high, step: "any", oninput: press };
    const name = element("label", { for: `slider-${k}` }, axis.name);
    const number = element("output", { id: `value-${k}`, for: `slider-${k}` });
    find("sliders").append(element("div", { class: "slider" }, name, element("input", range), number));
  });
}

let drawing = 0;
async function sample(label) {
  const mine = ++drawing, first = Math.floor(Math.random() * 2 ** 30);
  find("samples").replaceChildren();
  try {
    for (let k = 0; k < SAMPLES && mine === drawing; k++) {
      const made = await ask("sample", { label, seed: first + k });
      if (mine !== drawing) return;
      const press = () => {
        ({ code, seed } = made);
        refresh();
        show();
      };
      find("samples").append(tile(made.image, [], `sample ${k + 1}`, press));
    }
  } catch (error) {
    say(error.message);
  }
}

function addSamples() {
  if (!space.samples) return;
  find("sampling").hidden = false;
  [["all", null], ...space.components.map((name, k) => [name, k])].forEach(([name, label]) => {
    find("sample-buttons").append(element("button", { type: "button", onclick: () => sample(label) }, name));
  });
}

function addLegend() {
  const present = new Set(space.groups);
  space.groupNames.forEach((name, k) => {
    if (!present.has(k)) return;
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 10 10");
    svg.setAttribute("aria-hidden", "true");
    const dot = document.createElementNS("http://www.w3.org/2000/svg", "circle");
    for (const [key, given] of [["cx", 5], ["cy", 5], ["r", 5], ["fill", pointColour(k)]]) dot.setAttribute(key, given);
    svg.append(dot);
    find("legend").append(element("li", {}, svg, name));
  });
}

async function start() {
  space = await ask("session");
  code = space.start;
  seed = space.seed;
  document.body.classList.toggle("pixelated", space.pixelated);
  find("hint").textContent = space.encodes
    ? "Drag to move over the codes. Press a point to look at its image."
    : "Drag to move over the codes.";
  find("noise").hidden = !space.draws;
  addCategories();
  addSliders();
  addLegend();
  addSamples();
  find("gallery").hidden = !space.thumbnails.length;
  find("thumbnails").append(...space.thumbnails.map((image) => imageTile(image)));
  refresh();
  listen();
  await (space.encodes ? look(0) : show());
}

start().catch((error) => say(error.message));
