// The page of a foveal server: images go to /v1/detect once, with a low score threshold; whatever
// is changed after that (threshold, classes) is drawn and counted here.

import { classColor, drawDetections } from "./drawing.js";
import { save, toCoco, toCsv } from "./downloads.js";

const LOWEST = 0.05; // the score from which the server is asked
const AT_ONCE = 2; // requests on their way
const KEPT = 3; // images on both sides of the one that is shown whose pixels are kept
const TRIES = 30; // while the server is busy

const at = (id) => document.getElementById(id);
const images = []; // in the order in which they came
let models = [];
let current = -1; // the image that is shown
let threshold = 0.3;
const hidden = new Set(); // names of classes that are not shown
let token = sessionStorage.getItem("foveal-token") || "";
let running = 0;
let stream = null; // of the camera
let number = 0; // of pictures taken

// Asking the server

async function ask(address, options = {}) {
  const headers = { ...(options.headers || {}) };
  if (token) headers.Authorization = `Bearer ${token}`;
  const answer = await fetch(address, { ...options, headers });
  if (answer.status === 401) at("token-form").hidden = false;
  return answer;
}

async function problemOf(answer) {
  try {
    const said = await answer.json();
    return said.detail || said.title || `The server answers ${answer.status}.`;
  } catch {
    return `The server answers ${answer.status}.`;
  }
}

async function loadModels() {
  let answer;
  try {
    answer = await ask("v1/models");
  } catch {
    say("The server can't be reached.");
    return;
  }
  if (!answer.ok) {
    if (answer.status !== 401) say(await problemOf(answer));
    return;
  }
  at("token-form").hidden = true;
  models = (await answer.json()).models;
  const chosen = at("model").value;
  at("model").replaceChildren(...models.map((model) => new Option(model.name, model.name)));
  if (models.some((model) => model.name === chosen)) at("model").value = chosen;
  at("model-field").hidden = models.length < 2;
  takeModel();
}

function takeModel() {
  const model = models.find((each) => each.name === at("model").value);
  if (!model) return;
  at("about").textContent =
    `${model.name}, version ${model.version}: ${model.classes.slice(0, 12).join(", ")}` +
    (model.classes.length > 12 ? ` and ${model.classes.length - 12} more` : "");
  setThreshold(model.score_threshold);
}

// Images that come in

function add(files) {
  const first = images.length;
  for (const file of files) {
    images.push({ file, name: file.name || `image ${images.length + 1}`, state: "waits" });
  }
  if (images.length === first) return;
  closeCamera();
  at("drop").hidden = true;
  at("panel").hidden = false;
  at("figure").hidden = false;
  show(first);
  work();
}

function work() {
  while (running < AT_ONCE) {
    const image = images.find((each) => each.state === "waits");
    if (!image) break;
    image.state = "sent";
    running += 1;
    detect(image).finally(() => {
      running -= 1;
      update();
      work();
    });
  }
  update();
}

async function detect(image) {
  await load(image);
  if (image === images[current]) update();
  try {
    Object.assign(image, await request(image), { state: "done" });
    await load(image);
  } catch (error) {
    image.state = "failed";
    image.error = error instanceof TypeError ? "The server can't be reached." : error.message;
  }
}

// Decode an image for the screen. A browser that can't (a TIFF, for instance), or that turns it
// otherwise than the server does, leaves its boxes alone.
async function load(image) {
  if (!image.picture && !image.isStrange) {
    try {
      image.picture = await createImageBitmap(image.file);
    } catch {
      image.isStrange = true;
    }
  }
  const { picture, width, height } = image;
  if (picture && width && (picture.width !== width || picture.height !== height)) {
    image.picture = null;
    image.isStrange = true;
  }
}

// Pictures that are far from the one that is shown are decoded again when they are.
function keepFew() {
  images.forEach((image, index) => {
    if (Math.abs(index - current) > KEPT && image.picture && image.drawn && image.state === "done") {
      image.picture.close();
      image.picture = null;
    }
  });
}

async function request(image) {
  const query = new URLSearchParams({ name: image.name });
  if (at("model").value) query.set("model", at("model").value);
  image.from = LOWEST;
  for (let tries = 0; ; tries += 1) {
    query.set("score_threshold", image.from);
    const answer = await ask(`v1/detect?${query}`, {
      method: "POST",
      body: image.file,
      headers: { "Content-Type": "application/octet-stream" },
    });
    if (answer.status === 503 && tries < TRIES) {
      const seconds = Number(answer.headers.get("Retry-After")) || 1;
      await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
      continue;
    }
    const model = models.find((each) => each.name === at("model").value);
    if (answer.status === 422 && model && image.from < model.score_threshold) {
      // A model that decodes inside its file may not go so low.
      const said = await problemOf(answer.clone());
      if (/threshold/.test(said)) {
        image.from = model.score_threshold;
        continue;
      }
    }
    if (!answer.ok) throw new Error(await problemOf(answer));
    return readAnswer(await answer.json());
  }
}

function readAnswer(document) {
  const found = document.images[0];
  if (found.problem) throw new Error(found.problem.detail);
  return {
    width: found.width,
    height: found.height,
    notes: found.notes,
    leftOut: found.left_out_score,
    classes: document.model.classes,
    detections: found.boxes.map((box, index) => ({
      box,
      score: found.scores[index],
      label: found.labels[index],
      name: found.names[index],
    })),
  };
}

// What is shown

function visible(image) {
  if (image.state !== "done") return [];
  return image.detections.filter((each) => each.score >= threshold && !hidden.has(each.name));
}

// Whether a limit of detections left some out that would be shown.
function isCapped(image) {
  return image.leftOut > 0 && image.leftOut >= threshold;
}

function counts(list) {
  const result = new Map();
  for (const image of list) {
    for (const each of image.detections || []) {
      if (each.score >= threshold) result.set(each.name, (result.get(each.name) || 0) + 1);
    }
  }
  return result;
}

function classNames() {
  const names = new Map(); // of all images' models, with the label
  for (const image of images) {
    (image.classes || []).forEach((name, label) => names.has(name) || names.set(name, label));
  }
  return names;
}

let planned = false;

function update() {
  if (planned) return;
  planned = true;
  requestAnimationFrame(() => {
    planned = false;
    draw();
    fillTable();
    fillStrip();
    tell();
    keepFew();
  });
}

function draw() {
  const image = images[current];
  const canvas = at("canvas");
  if (!image) return;
  const width = image.width || (image.picture && image.picture.width) || 4;
  const height = image.height || (image.picture && image.picture.height) || 3;
  const stage = at("stage");
  const scale = Math.min(stage.clientWidth / width, stage.clientHeight / height, 8);
  const density = window.devicePixelRatio || 1;
  const shown = visible(image);
  canvas.hidden = !image.picture && image.state !== "done"; // there is nothing to see
  canvas.style.width = `${Math.max(1, Math.floor(width * scale))}px`;
  canvas.style.height = `${Math.max(1, Math.floor(height * scale))}px`;
  canvas.width = Math.max(1, Math.floor(width * scale * density));
  canvas.height = Math.max(1, Math.floor(height * scale * density));
  drawDetections(canvas, image.picture, shown, {
    scale: scale * density,
    text: 13 * density,
    labels: at("labels").checked,
  });
  const total = shown.length === 1 ? "1 object" : `${shown.length} objects`;
  canvas.setAttribute("aria-label", `${image.name}: ${total}`);
  at("caption").textContent = `${image.name} (${current + 1} of ${images.length})`;
  at("previous").disabled = current <= 0;
  at("next").disabled = current >= images.length - 1;
}

function fillTable() {
  const here = counts(images[current] ? [images[current]] : []);
  const all = counts(images);
  const names = classNames();
  const body = at("classes");
  if (body.childElementCount !== names.size || [...body.children].some((row) => !names.has(row.dataset.name))) {
    body.replaceChildren(...[...names].map(([name, label]) => classRow(name, label)));
  }
  const sums = [0, 0];
  for (const row of body.children) {
    const numbers = [here, all].map((counted) => counted.get(row.dataset.name) || 0);
    numbers.forEach((value, index) => {
      row.cells[index + 1].textContent = value.toLocaleString("en");
      if (!hidden.has(row.dataset.name)) sums[index] += value;
    });
  }
  at("sum-here").textContent = sums[0].toLocaleString("en");
  at("sum-all").textContent = sums[1].toLocaleString("en");
}

function classRow(name, label) {
  const row = document.createElement("tr");
  row.dataset.name = name;
  const head = document.createElement("th");
  head.scope = "row";
  const field = document.createElement("label");
  const box = document.createElement("input");
  box.type = "checkbox";
  box.checked = !hidden.has(name);
  box.addEventListener("change", () => {
    if (box.checked) hidden.delete(name);
    else hidden.add(name);
    update();
  });
  const swatch = document.createElement("span");
  swatch.className = "swatch";
  swatch.style.backgroundColor = classColor(label);
  field.append(box, swatch, name);
  head.append(field);
  row.append(head, document.createElement("td"), document.createElement("td"));
  return row;
}

function fillStrip() {
  const strip = at("strip");
  strip.hidden = images.length < 2;
  while (strip.childElementCount > images.length) strip.lastChild.remove();
  while (strip.childElementCount < images.length) strip.append(thumbnail(strip.childElementCount));
  images.forEach((image, index) => {
    const button = strip.children[index].firstChild;
    button.setAttribute("aria-current", index === current);
    button.classList.toggle("failed", image.state === "failed");
    const word = { waits: "waits", sent: "\u2026", failed: "failed" }[image.state];
    const text = word || String(visible(image).length);
    if (button.lastChild.textContent !== text) button.lastChild.textContent = text;
    if (image.picture && !image.drawn) {
      image.drawn = true;
      const canvas = button.firstChild;
      const scale = Math.min(canvas.width / image.picture.width, canvas.height / image.picture.height);
      const size = [image.picture.width * scale, image.picture.height * scale];
      const corner = [(canvas.width - size[0]) / 2, (canvas.height - size[1]) / 2];
      canvas.getContext("2d").drawImage(image.picture, ...corner, ...size);
    }
  });
}

function thumbnail(index) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.title = images[index].name;
  button.setAttribute("aria-label", `Show ${images[index].name}`);
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [154, 115];
  button.append(canvas, document.createElement("span"));
  button.addEventListener("click", () => show(index));
  item.append(button);
  return item;
}

function tell() {
  const image = images[current];
  const waiting = images.filter((each) => each.state === "waits" || each.state === "sent").length;
  const failed = images.filter((each) => each.state === "failed").length;
  const lines = [];
  if (waiting) lines.push(`${waiting} of ${images.length} images to go.`);
  if (failed) lines.push(`${failed} of ${images.length} images failed.`);
  if (image && image.state === "failed") lines.push(image.error);
  if (image && image.state === "done") {
    if (!visible(image).length) lines.push("No object in this image at this score.");
    if (image.isStrange) lines.push("The browser can't show this kind of image, only its boxes.");
    lines.push(...image.notes);
  }
  say(lines.join(" "));
  const capped = image && image.state === "done" && isCapped(image);
  at("capped").hidden = !capped;
  at("capped").textContent =
    "A limit of detections was reached in this image: there may be more objects of low score.";
  const done = images.some((each) => each.state === "done");
  for (const kind of ["csv", "coco"]) at(`download-${kind}`).disabled = !done;
  at("download-picture").disabled = !(image && image.state === "done");
}

function say(text) {
  if (at("status").textContent !== text) at("status").textContent = text;
  if (at("panel").hidden && text) at("about").textContent = text;
}

function show(index) {
  if (!images.length) return;
  current = Math.max(0, Math.min(index, images.length - 1));
  const image = images[current];
  if (image.state === "done" && !image.picture && !image.isStrange) load(image).then(update);
  update();
  requestAnimationFrame(() => {
    const item = at("strip").children[current];
    if (item) item.scrollIntoView({ block: "nearest", inline: "nearest" });
  });
}

function setThreshold(value) {
  threshold = Math.max(LOWEST, Math.min(1, value));
  at("threshold").value = threshold;
  at("threshold-value").textContent = threshold.toFixed(2);
  update();
}

function clear() {
  images.length = 0;
  current = -1;
  hidden.clear();
  at("strip").replaceChildren();
  at("classes").replaceChildren();
  at("figure").hidden = true;
  at("panel").hidden = true;
  at("drop").hidden = false;
  takeModel();
}

// The camera

async function openCamera() {
  try {
    stream = await navigator.mediaDevices.getUserMedia({
      video: { facingMode: "environment", width: { ideal: 1920 } },
    });
  } catch {
    // Also where there is no mediaDevices: browsers give cameras to secure addresses only.
    at("about").textContent =
      "There is no camera, or it may not be used: browsers ask for localhost or https.";
    return;
  }
  at("video").srcObject = stream;
  at("camera").hidden = false;
  at("drop").hidden = true;
}

function closeCamera() {
  if (stream) stream.getTracks().forEach((track) => track.stop());
  stream = null;
  at("video").srcObject = null;
  at("camera").hidden = true;
  if (!images.length) at("drop").hidden = false;
}

function shoot() {
  const video = at("video");
  if (!video.videoWidth) return;
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob(
    (blob) => {
      number += 1;
      add([new File([blob], `camera ${number}.jpg`, { type: "image/jpeg" })]);
    },
    "image/jpeg",
    0.95,
  );
}

// Downloads

function shown() {
  return images
    .filter((image) => image.state === "done")
    .map((image) => ({ ...image, detections: visible(image), capped: isCapped(image) }));
}

function downloadPicture() {
  const image = images[current];
  if (!image || image.state !== "done") return;
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.width, image.height];
  drawDetections(canvas, image.picture, visible(image), {
    scale: 1,
    text: Math.max(11, Math.sqrt(image.width * image.height) / 42),
    labels: at("labels").checked,
  });
  canvas.toBlob((blob) => {
    if (blob) save(blob, `${image.name.replace(/\.\w+$/, "")} found.png`);
    else say("The picture is too large for this browser.");
  }, "image/png");
}

// What people do

at("choose").addEventListener("change", (event) => {
  add([...event.target.files]);
  event.target.value = "";
});
at("more").addEventListener("click", () => at("choose").click());
at("clear").addEventListener("click", clear);
at("camera-button").addEventListener("click", openCamera);
at("camera-end").addEventListener("click", closeCamera);
at("shoot").addEventListener("click", shoot);
at("previous").addEventListener("click", () => show(current - 1));
at("next").addEventListener("click", () => show(current + 1));
at("labels").addEventListener("change", update);
at("model").addEventListener("change", takeModel);
at("threshold").addEventListener("input", (event) => setThreshold(Number(event.target.value)));
at("download-csv").addEventListener("click", () =>
  save(new Blob([toCsv(shown())], { type: "text/csv" }), "detections.csv"),
);
at("download-coco").addEventListener("click", () =>
  save(new Blob([toCoco(shown())], { type: "application/json" }), "detections.json"),
);
at("download-picture").addEventListener("click", downloadPicture);
at("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = at("token").value.trim();
  sessionStorage.setItem("foveal-token", token);
  loadModels();
  for (const image of images) if (image.state === "failed") image.state = "waits";
  work();
});

document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragged");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dragged");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragged");
  add([...event.dataTransfer.files]);
});
document.addEventListener("paste", (event) => {
  add([...event.clipboardData.files].filter((file) => file.type.startsWith("image/")));
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input, select, textarea") && event.target.type !== "checkbox") return;
  const key = event.key.toLowerCase();
  if (key === "arrowleft") show(current - 1);
  else if (key === "arrowright") show(current + 1);
  else if (key === "+" || key === "=") setThreshold(Math.round(100 * threshold + 1) / 100);
  else if (key === "-") setThreshold(Math.round(100 * threshold - 1) / 100);
  else if (key === "o") at("choose").click();
  else if (key === "l") {
    at("labels").checked = !at("labels").checked;
    update();
  } else return;
  event.preventDefault();
});
window.addEventListener("resize", update);
window.addEventListener("pagehide", closeCamera);

loadModels();
