"use strict";

const get = id => document.getElementById(id);
const made = (tag, text, properties = {}) => Object.assign(document.createElement(tag), { textContent: text }, properties);
const percent = share => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;
const seconds = time => `${time.toFixed(1)} s`;

let limits = {};
let shown = null; // the result on display
let current = null; // aborts the request under way
let recorder = null;

async function fetched(address, options = {}) {
  const answer = await fetch(address, options);
  if (!answer.ok) throw new Error((await answer.json()).error);
  return answer;
}

function say(text, error = false) {
  get("status").textContent = text;
  get("status").classList.toggle("error", error);
}

function fail(error) {
  if (error.name === "AbortError") return;
  get("progress").hidden = true;
  say(error instanceof TypeError ? "The page's server does not answer; is actionrec app still running?" : sentence(error.message), true);
}

// A message may begin with a file name, which stays as it is.
const sentence = text => text.replace(/^[a-z]+( |$)/, word => word.charAt(0).toUpperCase() + word.slice(1)) + (text.endsWith(".") ? "" : ".");

// A newer request ends the one before it, on the server too.
function begin() {
  current?.abort();
  current = new AbortController();
  return current.signal;
}

async function predict(query, body, name) {
  const signal = begin();
  get("result").hidden = true;
  get("progress").hidden = false;
  get("progress").removeAttribute("value");
  say(body ? `Sending ${name}` : `Predicting ${name}`);
  try {
    const address = "predict?" + new URLSearchParams({ run: get("run").value, ...query });
    const answer = await fetched(address, { method: "POST", body, signal });
    for await (const line of lines(answer.body)) {
      if (line.error) throw new Error(line.error);
      if (line.result) return show(line);
      say(line.ahead ? `Waiting: ${line.ahead} before ${name}` : `Predicting ${name}`);
      if (line.done) get("progress").value = line.done;
    }
    throw new TypeError("the answer ends early");
  } catch (error) {
    if (!signal.aborted) fail(error);
  }
}

async function* lines(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  for (let text = "", part; !(part = await reader.read()).done;) {
    text += part.value;
    for (let end; (end = text.indexOf("\n")) >= 0; text = text.slice(end + 1)) yield JSON.parse(text.slice(0, end));
  }
}

function send(file, name) {
  if (!file) return;
  if (file.size > limits.max_megabytes * 1e6) {
    return fail(new Error(`${name} is larger than ${limits.max_megabytes} MB; cut it, or choose another one`));
  }
  predict({ name }, file, name);
}

function show(result) {
  shown = result;
  get("progress").hidden = true;
  get("result").hidden = false;
  say("");
  get("course").hidden = !result.cells.length;
  get("whole").hidden = !result.whole;
  get("strip").replaceChildren(...result.cells.map(cell));
  get("strip").setAttribute("aria-valuemax", result.cells.length - 1);
  get("end").textContent = result.cells.length ? seconds(result.cells.at(-1).end) : "";
  get("segments").replaceChildren(...result.segments.map(segment));
  draw(result.view);
}

function cell(each) {
  const bar = made("span", "");
  bar.style.flexGrow = each.end - each.start;
  bar.style.height = `${Math.max(100 * each.height, 4)}%`;
  bar.style.background = each.colour;
  return bar;
}

function segment(each) {
  const button = made("button", "", { type: "button" });
  const dot = made("i", "");
  dot.style.background = each.colour;
  button.append(dot, `${each.action} ${each.start.toFixed(1)}–${seconds(each.end)}`);
  button.addEventListener("click", () => jump(each.part));
  return button;
}

async function jump(part) {
  if (!shown || part === shown.view.part) return;
  const signal = begin();
  mark(part);
  try {
    const answer = await fetched(`results/${shown.result}/${part < 0 ? "whole" : part}`, { signal });
    shown.view = await answer.json();
    draw(shown.view);
    say("");
  } catch (error) {
    if (!signal.aborted) fail(error);
  }
}

function mark(part) {
  [...get("strip").children].forEach((bar, index) => bar.classList.toggle("shown", index === part));
  const at = shown.cells[part];
  get("strip").setAttribute("aria-valuenow", Math.max(part, 0));
  get("strip").setAttribute("aria-valuetext", at ? `${seconds(at.start)}: ${at.action}` : "whole clip");
}

function draw(view) {
  mark(view.part);
  get("title").textContent = view.action === view.of ? `${view.action} ${percent(view.probability)}` : view.action;
  const span = view.part < 0 ? "" : `, ${view.start.toFixed(1)} to ${seconds(view.end)}`;
  get("subtitle").textContent = shown.name + span;
  const several = view.streams.length > 1;
  const first = card(several ? "Fusion" : "Answer", view.top, [[view.frame, "Middle frame"]]);
  const others = view.streams.map(each => card(sentence(each.name).slice(0, -1), each.top, [
    [each.input, each.name === "flow" ? "Optical flow, the direction as hue" : "What it sees"],
    [each.looked, `Where it looks for ${view.of} (Grad-CAM)`],
  ]));
  get("cards").replaceChildren(first, ...others);
}

function card(title, top, pictures) {
  const whole = made("section", "");
  whole.append(made("h3", title));
  if (top) {
    const table = made("table", "");
    for (const [action, probability] of top) {
      const row = table.insertRow();
      row.append(made("th", action, { scope: "row" }));
      row.insertCell().append(made("meter", "", { value: probability, ariaHidden: "true" }));
      row.insertCell().textContent = percent(probability);
    }
    whole.append(table);
  }
  const figures = pictures.filter(([source]) => source).map(([source, caption]) => {
    const figure = made("figure", "");
    figure.append(made("img", "", { src: source, alt: `${title}: ${caption}` }), made("figcaption", caption));
    return figure;
  });
  const row = made("div", "", { className: "pictures" });
  row.append(...figures);
  whole.append(row);
  whole.classList.toggle("wide", figures.length > 1);
  return whole;
}

function at(event) { // the window under the pointer
  const place = event.clientX;
  const bars = [...get("strip").children];
  const found = bars.findIndex(bar => place < bar.getBoundingClientRect().right);
  return found < 0 ? bars.length - 1 : found;
}

function key(event) {
  const last = shown.cells.length - 1, here = shown.view.part;
  const to = { ArrowLeft: here - 1, ArrowDown: here - 1, ArrowRight: here + 1, ArrowUp: here + 1, Home: 0, End: last }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  jump(Math.min(Math.max(to, 0), last));
}

async function examples() {
  const run = get("run").value;
  get("examples").hidden = true;
  try {
    const found = await (await fetched("examples?" + new URLSearchParams({ run }))).json();
    if (run !== get("run").value) return;
    get("examples").hidden = !found.length;
    get("list").replaceChildren(...found.map((each, number) => {
      const button = made("button", "", { type: "button" });
      button.append(made("img", "", { src: each.picture, alt: "" }), each.action);
      button.addEventListener("click", () => predict({ example: number }, null, `an example of ${each.action}`));
      return button;
    }));
  } catch (error) {
    fail(error);
  }
}

async function record() {
  if (recorder) return recorder.stop();
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 } } });
    const parts = [];
    const clock = setInterval(() => tell(), 500);
    const began = Date.now();
    const tell = () => {
      const passed = (Date.now() - began) / 1000;
      get("record").textContent = `Stop (${passed.toFixed(0)} s)`;
      if (passed > limits.max_seconds - 1) recorder?.stop();
    };
    recorder = new MediaRecorder(stream);
    recorder.ondataavailable = event => parts.push(event.data);
    recorder.onstop = () => {
      clearInterval(clock);
      stream.getTracks().forEach(track => track.stop());
      get("camera").hidden = true;
      get("record").textContent = "Record";
      recorder = null;
      send(new Blob(parts), "the recording");
    };
    get("camera").srcObject = stream;
    get("camera").hidden = false;
    get("camera").play();
    recorder.start();
    tell();
  } catch (error) {
    fail(new Error(`The camera cannot be used: ${error.message}`));
  }
}

async function start() {
  get("choose").addEventListener("click", () => get("file").click());
  get("file").addEventListener("change", () => {
    send(get("file").files[0], get("file").files[0]?.name);
    get("file").value = ""; // so that the same file may be chosen again
  });
  get("record").hidden = !(navigator.mediaDevices && window.MediaRecorder);
  get("record").addEventListener("click", record);
  get("run").addEventListener("change", examples);
  get("whole").addEventListener("click", () => jump(-1));
  get("strip").addEventListener("click", event => jump(at(event)));
  get("strip").addEventListener("keydown", key);
  for (const kind of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, event => {
      event.preventDefault();
      get("drop").classList.toggle("over", kind === "dragover");
      if (kind === "drop") send(event.dataTransfer.files[0], event.dataTransfer.files[0]?.name);
    });
  }
  try {
    limits = await (await fetched("settings")).json();
    get("limits").textContent =
      `Up to ${limits.max_seconds} seconds and ${limits.max_megabytes} MB. The server deletes the file when the prediction is done.`;
    const groups = new Map();
    for (const { key, title } of limits.runs) {
      const data = key.split("/")[0];
      if (!groups.has(data)) groups.set(data, made("optgroup", "", { label: data }));
      groups.get(data).append(made("option", title, { value: key }));
    }
    get("run").replaceChildren(...groups.values());
    get("run").value = limits.newest;
    examples();
  } catch (error) {
    fail(error);
  }
}

start();
