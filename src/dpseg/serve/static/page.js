// Puts the page together: photo, things to find, run, result.

import { Chips, element, onDrop } from "./chips.js";
import { Corrections } from "./corrections.js";
import { Legend } from "./legend.js";
import * as service from "./service.js";
import { Viewer } from "./viewer.js";
import { showWhy } from "./why.js";

const $ = (id) => document.getElementById(id);
const state = { photo: null, result: null, stem: null, limits: null, running: null };

const chips = new Chips({
  list: $("chip-list"),
  input: $("class-input"),
  picker: $("example-input"),
  changed: () => say(""),
});
const viewer = new Viewer({
  root: $("viewer"),
  canvas: $("canvas"),
  cross: $("cross"),
  tip: $("tip"),
  spoken: $("spoken"),
  pointed: (index) => legend.highlight(index),
  asked: why,
});
const legend = new Legend({
  list: $("legend"),
  missing: $("missing"),
  toggleAll: $("toggle-all"),
  hidden: (hidden) => viewer.setHidden(hidden),
  pointed: (index) => viewer.highlight(index),
});

const corrections = new Corrections({
  bar: $("said"),
  words: $("said-words"),
  undo: $("undo"),
  forget: $("forget"),
  picker: $("corrections-file"),
  shown: showCorrected,
  failed: complain,
});

/** Show an error in words; an empty one hides it. */
function say(words) {
  $("error").textContent = words;
  $("error").hidden = !words;
}

function complain(error) {
  if (error.name === "AbortError") return;
  if (error.status === 401) {
    $("token-row").hidden = false;
    $("token").focus();
    say(service.token.get() && "That is not the service's token.");
    return;
  }
  say(error.message);
  $("error").scrollIntoView({ block: "nearest" });
}

function takePhoto(file) {
  state.photo = file;
  say("");
  const preview = $("preview");
  URL.revokeObjectURL(preview.src);
  preview.onload = () => (preview.hidden = false);
  preview.onerror = () => (preview.hidden = true); // kinds that only the server can read
  preview.src = URL.createObjectURL(file);
  $("photo-name").textContent = file.name;
}

function question({ byModel }) {
  chips.commit();
  const limit = state.limits?.megabytes;
  const files = [state.photo, ...chips.chips.flatMap(({ pictures }) => pictures.map(({ file }) => file))];
  if (!state.photo) throw new Error("Choose a photo first.");
  if (!byModel && !chips.wanted.length && !$("vocabulary").value) throw new Error("Name at least one thing to find.");
  const megabytes = files.reduce((sum, file) => sum + file.size, 0) / 1e6;
  if (limit && megabytes > limit) {
    throw new Error(`The photo and pictures have ${megabytes.toFixed(1)} MB; at most ${limit} MB can be sent.`);
  }
  const form = new FormData();
  form.append("image", state.photo, state.photo.name);
  chips.fill(form);
  if (byModel) form.append("classes", "auto");
  form.append("vocabulary", $("vocabulary").value);
  if (corrections.file) form.append("corrections", corrections.file, "corrections.safetensors");
  form.append("unlabelled", $("unlabelled").checked);
  form.append("refine", $("refine").checked ? $("rounds").value : 0);
  form.append("prompts", $("prompts").value);
  form.append("min_presence", $("min-presence").value / 100);
  return form;
}

/** Ask for the pixels; of what is named, or also of what the model can name. */
async function run({ byModel = false } = {}) {
  if (state.running) return;
  say("");
  let form;
  try {
    form = question({ byModel });
  } catch (error) {
    complain(error);
    return;
  }
  const stem = state.photo.name.replace(/\.[^.]*$/, "");
  state.running = new AbortController();
  busy(true);
  try {
    const result = await service.segment(form, state.running.signal, progress);
    progress({ share: 0.97, words: "Drawing …" });
    const [photo, indices] = await Promise.all([
      service.picture(result.id, "photo.jpg"),
      service.picture(result.id, "index.png"),
    ]);
    Object.assign(state, { result, stem });
    if (byModel) result.classes.forEach(({ name }) => chips.add(name));
    $("empty").hidden = true;
    $("why").hidden = true;
    $("found").hidden = false;
    await viewer.show(result, photo, indices);
    legend.show(result);
    corrections.begin({ result, photo, indices });
    const how = matchMedia("(hover: none)").matches
      ? "Tap the photo to ask why, or to correct it."
      : "Point at the photo to see a name; click to ask why, or to correct it.";
    const next = byModel ? " Drop the names that are wrong, add what is missing, and find them again." : "";
    $("look-hint").textContent = `${how} Done in ${result.seconds.toFixed(1)} s.${next}`;
    if (matchMedia("(max-width: 760px)").matches) $("result").scrollIntoView({ block: "start" });
  } catch (error) {
    complain(error);
  } finally {
    state.running = null;
    busy(false);
  }
}

/** Show an answer with corrections in place of the one before. */
async function showCorrected({ result, photo, indices }, name) {
  state.result = result;
  $("why").hidden = true;
  if (name) chips.add(name);
  await viewer.show(result, photo, indices);
  legend.show(result);
  $("look-hint").textContent = `Corrected in ${result.seconds.toFixed(1)} s. Click again where it is still wrong.`;
}

function busy(on) {
  $("run").disabled = $("name-it").disabled = on;
  $("cancel").hidden = !on;
  $("progress").hidden = !on;
  $("found").classList.toggle("stale", on);
  if (on) progress({ share: 0, words: "Sending the photo …" });
}

function progress({ share, words }) {
  if (share === null) $("bar").removeAttribute("value");
  else $("bar").value = share;
  $("progress-words").textContent = words;
}

async function why(x, y) {
  try {
    const explanation = await service.explain(state.result.id, x, y);
    showWhy($("why"), explanation, alsoFind, corrections.controls(x, y, explanation.label));
    if (matchMedia("(max-width: 1180px)").matches) $("why").scrollIntoView({ block: "nearest" });
  } catch (error) {
    complain(error);
  }
}

/** Add a name that fits a place better than the given ones, and find all anew. */
function alsoFind(name) {
  chips.add(name);
  run();
}

function save(name, blob) {
  const link = element("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/** The picture as it is shown: with the same opacity, and without what is switched off. */
function overlayPath() {
  const query = new URLSearchParams({ opacity: $("opacity").value / 100 });
  viewer.hidden.forEach((index) => query.append("hidden", index));
  return `overlay.png?${query}`;
}

async function savePicture(path, suffix) {
  try {
    save(`${state.stem}-${suffix}.png`, await service.picture(state.result.id, path));
  } catch (error) {
    complain(error);
  }
}

function saveData() {
  const text = JSON.stringify(state.result, null, 2);
  save(`${state.stem}.json`, new Blob([text], { type: "application/json" }));
}

async function fileFrom(name) {
  const blob = await (await service.get(`/static/examples/${name}`)).blob();
  return new File([blob], name, { type: blob.type });
}

async function tryExample({ file, classes, shown }) {
  takePhoto(await fileFrom(file));
  chips.clear();
  for (const name of classes) {
    chips.add(name, await Promise.all((shown?.[name] ?? []).map(fileFrom)));
  }
  await run();
}

async function listExamples() {
  const examples = await (await service.get("/static/examples/examples.json")).json();
  for (const example of examples) {
    const button = element("button");
    button.type = "button";
    button.title = `${example.title} (${example.credit})`;
    button.setAttribute("aria-label", `Try ${example.title}: ${example.classes.join(", ")}`);
    const image = element("img");
    image.src = `/static/examples/${example.file}`;
    image.alt = "";
    button.append(image);
    button.addEventListener("click", () => tryExample(example).catch(complain));
    const item = element("li");
    item.append(button);
    $("try").append(item);
  }
}

async function meet() {
  try {
    const [model] = await service.models();
    state.limits = model.limits;
    $("token-row").hidden = true;
    $("vocabulary").replaceChildren(
      ...["", ...model.vocabularies].map((name) => new Option(name || "none", name)),
    );
  } catch (error) {
    complain(error);
  }
}

$("question").addEventListener("submit", (event) => {
  event.preventDefault();
  run();
});
$("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) run();
});
$("name-it").addEventListener("click", () => run({ byModel: true }));
$("cancel").addEventListener("click", () => state.running?.abort());
$("photo").addEventListener("change", ({ target }) => target.files[0] && takePhoto(target.files[0]));
$("opacity").addEventListener("input", ({ target }) => viewer.setOpacity(target.value / 100));
$("save-picture").addEventListener("click", () => savePicture(overlayPath(), "overlay"));
$("save-labels").addEventListener("click", () => savePicture("labels.png", "labels"));
$("save-data").addEventListener("click", saveData);
$("save-corrections").addEventListener("click", () =>
  save(`${state.stem ?? "dpseg"}-corrections.safetensors`, corrections.file),
);
$("token").addEventListener("change", ({ target }) => {
  service.token.set(target.value);
  say("");
  meet();
});
onDrop($("drop"), ([file]) => takePhoto(file));
onDrop(document.body, ([file]) => takePhoto(file));
document.addEventListener("paste", ({ clipboardData }) => {
  const [file] = clipboardData.files;
  if (file?.type.startsWith("image/")) takePhoto(file);
});
listExamples().catch(complain);
meet();
