// The page: a photo goes to the server, its people come back and are shown.
import { BoxDrawing } from "./drawn_box.js";
import { Camera } from "./camera.js";
import { HeatmapView } from "./heatmaps.js";
import { PhotoView } from "./photo.js";
import { ask, byId, make, post } from "./server.js";

const model = await ask("/api/model").catch(fail);
const state = { photo: null, people: [], person: null, keypoint: null, asked: null };
const byNumber = new Map(); // heatmaps of the photo's people, when they were first asked for

const view = new PhotoView(byId("photo"), byId("label"), model, {
  onChoose: (n) => choose(n),
  onHover: (n) => markInList(n),
});
const heat = new HeatmapView(byId("heat"), model);
const camera = new Camera(byId("camera"), byId("camera-picture"));
const drawing = new BoxDrawing(view, { onBox: addPerson, onEnd: showDrawing });
const threshold = byId("threshold");
const level = byId("level");

// ---- messages
function say(text) {
  byId("status").textContent = text;
}

function fail(error, name = "") {
  if (error.name === "AbortError") return;
  say("");
  byId("error").textContent = name ? `${name}: ${error.message}` : error.message;
  byId("error").hidden = false;
}

function busy(isBusy) {
  document.body.classList.toggle("busy", isBusy);
  byId("result").setAttribute("aria-busy", String(isBusy));
}

// ---- a photo
async function give(file) {
  byId("error").hidden = true;
  if (state.asked) state.asked.abort();
  const asked = (state.asked = new AbortController());
  try {
    camera.close();
    refuseTooLong(file);
    say("Looking for people …");
    busy(true);
    const started = performance.now();
    const answer = await post("/api/photos", file, asked.signal);
    await showPhoto(answer, performance.now() - started);
  } catch (error) {
    fail(error, file.name);
  } finally {
    if (state.asked === asked) busy(false);
  }
}

// The server counts as well; but it would have to hang up on a browser that is still sending.
function refuseTooLong(file) {
  if (file.size <= model.max_upload_bytes) return;
  const limit = model.max_upload_bytes / 2 ** 20;
  throw new Error(`the file has ${(file.size / 2 ** 20).toFixed(1)} MiB, at most ${+limit.toFixed(2)} are allowed: make it smaller`);
}

async function showPhoto(answer, waited) {
  state.photo = answer;
  state.people = [];
  byNumber.clear();
  document.body.classList.add("has-photo");
  byId("result").hidden = false;
  view.show(answer);
  byId("people").replaceChildren(make("legend", {}, "People"));
  for (const person of answer.people) append(person);
  showTiming(answer.timing, waited);
  say(found(answer.people.length));
  await choose(answer.people.length ? 0 : null);
}

function found(count) {
  if (!model.has_detector) return "The whole photo is taken as one person. Draw a box around each for better poses.";
  if (!count) return "No person was found. Draw a box around somebody to see the pose.";
  return count === 1 ? "1 person was found." : `${count} people were found.`;
}

function showTiming(timing, waited) {
  const parts = [["decoding", timing.decode]];
  if (timing.detection > 0) parts.push(["detection", timing.detection]);
  parts.push(["poses", timing.pose]);
  if (waited) parts.push(["all, seen from here", waited]);
  const shown = parts.map(([name, value]) =>
    make("div", {}, make("dt", {}, name), make("dd", {}, `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`)),
  );
  byId("timing").replaceChildren(...shown);
}

// ---- people
function append(person) {
  const n = state.people.push(person) - 1;
  view.add(person);
  const radio = make("input", { type: "radio", name: "person", value: n });
  radio.addEventListener("change", () => choose(n));
  const row = make("label", { class: "row" }, radio, make("b", {}, String(n + 1)), make("span", {}, describe(person)));
  row.addEventListener("pointerenter", () => view.highlight(n));
  row.addEventListener("pointerleave", () => view.highlight(null));
  byId("people").append(row);
}

function describe(person) {
  const score = `keypoints ${person.score.toFixed(2)}`; // their mean
  if (person.box_score !== null) return `${score}, box ${person.box_score.toFixed(2)}`;
  const [x1, y1, x2, y2] = person.box;
  const { width, height } = state.photo;
  const isWhole = x1 === 0 && y1 === 0 && x2 === width && y2 === height;
  return `${score}, ${isWhole ? "whole photo" : "box by hand"}`;
}

function markInList(n) {
  byId("people").querySelectorAll(".row").forEach((row, index) => row.classList.toggle("hot", index === n));
}

async function choose(n) {
  state.person = n;
  view.choose(n);
  byId("result").classList.toggle("without-person", n === null);
  if (n === null) return;
  byId("people").querySelectorAll("input")[n].checked = true;
  byId("heat-title").textContent = `Heatmaps of person ${n + 1}`;
  showKeypoints(state.people[n]);
  const { key } = state.photo;
  if (!byNumber.has(n)) byNumber.set(n, ask(`/api/photos/${key}/people/${state.people[n].number}/heatmaps`));
  try {
    const answer = await byNumber.get(n);
    if (state.person !== n || state.photo.key !== key) return; // another one in the meantime
    await heat.load(answer);
    showHeat();
  } catch (error) {
    byNumber.delete(n);
    fail(error);
  }
}

async function addPerson(box) {
  byId("error").hidden = true;
  const { key } = state.photo;
  try {
    say("Looking at the box …");
    const started = performance.now();
    const answer = await post(`/api/photos/${key}/people`, JSON.stringify({ box }));
    if (state.photo.key !== key) return;
    append(answer.person);
    showTiming(answer.timing, performance.now() - started);
    say(`Person ${state.people.length} was added.`);
    await choose(state.people.length - 1);
  } catch (error) {
    fail(error);
  }
}

function showDrawing() {
  byId("draw").setAttribute("aria-pressed", String(view.isDrawing));
  byId("draw-help").hidden = !view.isDrawing;
}

// ---- keypoints
function showKeypoints({ keypoints }) {
  const rows = model.names.map((name, k) => keypointRow(k, name, keypoints[k][2]));
  byId("keypoints").replaceChildren(make("legend", {}, "Keypoints"), keypointRow(null, "all", null), ...rows);
}

function keypointRow(k, name, score) {
  const radio = make("input", { type: "radio", name: "keypoint", value: k ?? "all" });
  radio.checked = k === state.keypoint;
  radio.addEventListener("change", () => {
    state.keypoint = k;
    showHeat();
  });
  const row = make("label", { class: "row" }, radio, make("span", { class: "name" }, name));
  if (k === null) return row;
  const dot = make("i", { class: "dot" });
  dot.style.background = model.keypoint_colors[k];
  const bar = make("i", { class: "track" }, make("i", { class: "fill" }));
  bar.firstChild.style.width = `${100 * score}%`;
  row.classList.toggle("faint", score < Number(threshold.value));
  row.append(bar, make("span", { class: "score" }, score.toFixed(2)));
  row.insertBefore(dot, row.children[1]);
  return row;
}

// ---- heatmaps
function showHeat() {
  view.nameKeypoint(state.keypoint);
  if (!heat.stages) return;
  const index = Number(level.value);
  const options = { withPoints: byId("heat-points").checked, threshold: Number(threshold.value) };
  const { peak, height, width } = heat.show(index, state.keypoint, options);
  const name = model.stages[index];
  const stage = name.startsWith("P") ? `GlobalNet, level ${name}` : name;
  const of = state.keypoint === null ? "all keypoints" : model.names[state.keypoint];
  const caption = `${stage}: ${of}, ${width} x ${height} cells, peak ${peak.toFixed(2)}`;
  byId("heat-caption").textContent = caption;
  level.setAttribute("aria-valuetext", `${stage}, ${index + 1} of ${model.stages.length}`);
  byId("level-names").querySelectorAll("span").forEach((label, n) => label.classList.toggle("here", n === index));
}

function setUpLevels() {
  level.max = model.stages.length - 1;
  level.value = level.max; // the last stage is what the poses come from
  level.disabled = model.stages.length < 2;
  for (const name of model.stages) byId("level-names").append(make("span", {}, name.replace("Net", "")));
}

// ---- what a person does
setUpLevels();
threshold.value = model.keypoint_threshold;
const showThreshold = () => {
  byId("threshold-value").textContent = Number(threshold.value).toFixed(2);
  view.setThreshold(Number(threshold.value));
  view.choose(state.person);
};
showThreshold();
threshold.addEventListener("input", () => {
  showThreshold();
  if (state.person === null) return;
  showKeypoints(state.people[state.person]);
  showHeat();
});
level.addEventListener("input", showHeat);
byId("heat-points").addEventListener("change", showHeat);
byId("heat").addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
  if (!step) return;
  event.preventDefault();
  level.value = Number(level.value) + step;
  showHeat();
});

byId("file").addEventListener("change", (event) => {
  const [file] = event.target.files;
  event.target.value = ""; // so that the same file can be given again
  if (file) give(file);
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dropping");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  const [file] = event.dataTransfer.files;
  if (file) give(file);
  else fail(new Error("what was dropped is no file: save the photo first, then drop it"));
});
document.addEventListener("paste", (event) => {
  const [file] = event.clipboardData.files;
  if (file) give(file);
});
byId("draw").addEventListener("click", () => {
  if (view.isDrawing) {
    drawing.end();
    return;
  }
  drawing.begin();
  showDrawing();
});
byId("camera-open").addEventListener("click", () => {
  byId("error").hidden = true;
  camera.open().then(() => byId("camera-take").focus(), fail);
});
byId("camera-close").addEventListener("click", () => camera.close());
byId("camera-take").addEventListener("click", async () => give(await camera.still()));
document.body.classList.add("ready");
