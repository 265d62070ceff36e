// Two pictures, each a file or what the camera sees; both go to the server, whose answer is written down as text.
"use strict";

const COLUMNS = ["Score", "Threshold", "Decision", "Time"];
const PAUSE = 200; // milliseconds between two comparisons of a camera
const at = (id) => document.getElementById(id);
const sides = ["left", "right"].map((id) => side(at(id)));
let busy = false;
let again = false;

function side(section) {
  const [image, video] = section.querySelectorAll(".view > img, .view > video");
  const own = { section, image, video, hint: section.querySelector(".view p"), file: null, stream: null };
  const view = section.querySelector(".view");
  const button = section.querySelector("button");
  section.querySelector("input").addEventListener("change", (event) => take(own, event.target.files[0]));
  button.addEventListener("click", () => (own.stream ? keep(own) : watch(own)));
  view.addEventListener("dragover", (event) => { event.preventDefault(); view.classList.add("over"); });
  view.addEventListener("dragleave", () => view.classList.remove("over"));
  view.addEventListener("drop", (event) => {
    event.preventDefault();
    view.classList.remove("over");
    take(own, event.dataTransfer.files[0]);
  });
  return own;
}

function show(own, what) {
  for (const element of [own.image, own.video, own.hint]) element.hidden = element !== what;
  own.section.querySelector("button").textContent = own.stream ? "Keep this picture" : "Camera";
}

function take(own, file) {
  if (!file) return;
  stop(own);
  own.file = file;
  URL.revokeObjectURL(own.image.src);
  own.image.src = URL.createObjectURL(file);
  show(own, own.image);
  compare();
}

async function watch(own) {
  try {
    own.stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user" }, audio: false });
  } catch (error) {
    say(`No camera: ${error.message}`);
    return;
  }
  own.video.srcObject = own.stream;
  await own.video.play();
  show(own, own.video);
  compare();
}

async function keep(own) {
  take(own, await frame(own.video));
}

function stop(own) {
  if (own.stream) own.stream.getTracks().forEach((track) => track.stop());
  own.stream = own.video.srcObject = null;
}

function frame(video) {
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.95));
}

async function compare() {
  if (busy) { again = true; return; }
  if (!sides.every((own) => own.file || own.stream)) return;
  busy = true;
  again = false;
  try {
    const [first, second] = await Promise.all(sides.map((own) => (own.stream ? frame(own.video) : own.file)));
    const answer = await fetch(`compare?first=${first.size}`, {
      method: "POST", body: new Blob([first, second]), headers: { "Content-Type": "application/octet-stream" },
    });
    const content = await answer.json();
    if (answer.ok) write(content); else say(content.error);
  } catch {
    say("bitface doesn't answer: it was ended, or the pictures are too large.");
  }
  busy = false;
  if (again) compare();
  else if (sides.some((own) => own.stream)) setTimeout(compare, PAUSE);
}

function say(text) {
  at("status").textContent = text;
  at("answers").hidden = true;
  at("difference").textContent = "";
}

function write(content) {
  at("status").textContent = "";
  content.crops.forEach((uri, index) => {
    const figure = sides[index].section.querySelector(".crop");
    figure.querySelector("img").src = uri;
    figure.querySelector("figcaption").textContent = faces(content.faces[index]);
    figure.hidden = false;
  });
  at("answers").tBodies[0].replaceChildren(...content.networks.map(row));
  at("answers").hidden = false;
  at("difference").textContent = difference(content.networks);
}

function faces(count) {
  if (count === null) return "An aligned crop, taken as it is.";
  return count === 1 ? "The face that is found in it." : `The largest of ${count} faces.`;
}

function row(network) {
  const line = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  head.append(`${network.kind}: ${network.name}`, small(network.engine));
  line.append(head);
  const decided = network.same === null ? ["not decided", ""] : network.same ? ["same person", "same"] : ["different people", "other"];
  const texts = [number(network.similarity), number(network.threshold), decided[0], `${network.milliseconds.toPrecision(3)} ms`];
  texts.forEach((text, index) => {
    const cell = document.createElement("td");
    cell.dataset.column = COLUMNS[index];
    const value = document.createElement("span");
    value.textContent = text;
    if (index === 2 && decided[1]) value.className = decided[1];
    cell.append(value);
    line.append(cell);
  });
  return line;
}

function small(text) {
  const element = document.createElement("small");
  element.textContent = text;
  return element;
}

function number(value) {
  return value === null || value === undefined ? "–" : value.toFixed(4);
}

function difference([first, second]) {
  if (!second || first.similarity === null || second.similarity === null) return "";
  const apart = Math.abs(first.similarity - second.similarity).toFixed(4);
  const alike = first.same === null ? "" : first.same === second.same ? " and both decide alike" : " and they decide differently";
  return `The two scores are ${apart} apart${alike}.`;
}

function list(id, texts) {
  at(id).hidden = texts.length === 0;
  at(id).replaceChildren(...texts.map((text) => {
    const line = document.createElement("li");
    line.textContent = text;
    return line;
  }));
}

fetch("facts").then((answer) => answer.json()).then((facts) => {
  document.title = at("title").textContent = facts.title;
  at("threshold").textContent = facts.threshold
    ? `Same person from a score of ${facts.threshold.threshold.toFixed(4)}, the artifact's threshold for a false accept rate of ${facts.threshold.far}.`
    : "There is no threshold: scores are shown, and nothing is decided.";
  list("warnings", facts.warnings);
  list("notes", facts.notes);
});
