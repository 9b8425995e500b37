// The things to find, and those that are not wanted: names as chips, each with the pictures that
// show it.

const ICONS = {
  picture:
    '<svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2" stroke-linejoin="round" aria-hidden="true"><rect x="3" y="5" width="18" height="14" rx="2"/><path d="m4 17 5-5 4 4 3-3 4 4"/><circle cx="15.500" cy="9.500" r="1.200"/></svg>',
  minus:
    '<svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2.400" stroke-linecap="round" aria-hidden="true"><path d="M6 12h12"/></svg>',
  remove:
    '<svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2.400" stroke-linecap="round" aria-hidden="true"><path d="m7 7 10 10M17 7 7 17"/></svg>',
};

const fold = (name) => name.split("|")[0].trim().toLowerCase().replace(/[\s_]+/g, " ");

export class Chips {
  /** @param {{list: HTMLElement, input: HTMLInputElement, picker: HTMLInputElement, changed: () => void}} parts */
  constructor({ list, input, picker, changed }) {
    Object.assign(this, { list, input, picker, changed });
    this.chips = [];
    this.invitation = input.placeholder;
    input.addEventListener("keydown", (event) => this.#key(event));
    input.addEventListener("input", () => /[,\n]/.test(input.value) && this.commit());
    list.parentElement.addEventListener("click", (event) => {
      if (event.target === list.parentElement) input.focus();
    });
    picker.addEventListener("change", () => {
      this.show(this.pickingFor, picker.files);
      picker.value = "";
    });
  }

  /** Turn what is typed into chips. */
  commit() {
    const typed = this.input.value;
    this.input.value = "";
    typed.split(/[,\n]/).forEach((part) => this.add(part));
  }

  /** Add a name, behind a minus one that is not wanted; one that is there already stays as it is. */
  add(text, pictures = []) {
    const negative = /^\s*[-−–]/.test(text);
    const words = text.replace(/^\s*[-−–]/, "").split("|").map((word) => word.trim()).filter(Boolean);
    if (!words.length) return null;
    const known = this.chips.find((chip) => fold(chip.text) === fold(words[0]));
    if (known) return known;
    const chip = { text: words.join("|"), name: words[0], pictures: [], element: element("li", "chip") };
    const name = element("span", "name", words[0]);
    if (words.length > 1) name.append(element("span", "synonyms", ` · ${words.slice(1).join(" · ")}`));
    const pick = iconButton("picture", `Show pictures of ${chip.name}`, () => {
      this.pickingFor = chip;
      this.picker.click();
    });
    chip.minus = iconButton("minus", `Not wanted: ${chip.name}`, () => {
      this.#negate(chip, !chip.negative);
      this.changed();
    });
    const remove = iconButton("remove", `Remove ${chip.name}`, () => this.remove(chip));
    remove.classList.add("remove");
    chip.shown = element("div", "shown");
    chip.shown.hidden = true;
    chip.element.append(name, pick, chip.minus, remove, chip.shown);
    this.#negate(chip, negative);
    this.#acceptDrops(chip);
    this.chips.push(chip);
    this.list.append(chip.element);
    this.show(chip, pictures);
    this.#invite();
    return chip;
  }

  remove(chip) {
    const place = this.chips.indexOf(chip);
    this.#drop(chip);
    const next = this.chips[Math.min(place, this.chips.length - 1)];
    (next ? next.element.querySelector(".remove") : this.input).focus();
    this.changed();
  }

  /** The names that are to be found. */
  get wanted() {
    return this.chips.filter(({ negative }) => !negative);
  }

  clear() {
    while (this.chips.length) this.#drop(this.chips[0]);
  }

  /** Add pictures to a chip. */
  show(chip, files) {
    for (const file of files) {
      const picture = { file, url: URL.createObjectURL(file) };
      const button = element("button");
      button.type = "button";
      button.setAttribute("aria-label", `Remove the picture ${file.name} of ${chip.name}`);
      const image = element("img");
      image.src = picture.url;
      image.alt = "";
      button.append(image);
      button.addEventListener("click", () => {
        chip.pictures.splice(chip.pictures.indexOf(picture), 1);
        URL.revokeObjectURL(picture.url);
        button.remove();
        chip.shown.hidden = !chip.pictures.length;
        chip.element.querySelector("button").focus();
        this.changed();
      });
      chip.pictures.push(picture);
      chip.shown.append(button);
    }
    chip.shown.hidden = !chip.pictures.length;
    this.changed();
  }

  /** Write the names and pictures into a request. */
  fill(form) {
    for (const chip of this.chips) {
      form.append(chip.negative ? "not_classes" : "classes", chip.text);
      for (const { file } of chip.pictures) {
        form.append("example_classes", chip.name);
        form.append("examples", file, file.name);
      }
    }
  }

  #negate(chip, negative) {
    chip.negative = negative;
    chip.element.classList.toggle("negative", negative);
    chip.minus.setAttribute("aria-pressed", negative);
  }

  #drop(chip) {
    this.chips.splice(this.chips.indexOf(chip), 1);
    chip.pictures.forEach((picture) => URL.revokeObjectURL(picture.url));
    chip.element.remove();
    this.#invite();
  }

  #invite() {
    this.input.placeholder = this.chips.length ? "and …" : this.invitation;
  }

  #key(event) {
    if (event.key === "Enter" && !event.ctrlKey && !event.metaKey && this.input.value.trim()) {
      event.preventDefault();
      this.commit();
    } else if (event.key === "Backspace" && !this.input.value && this.chips.length) {
      this.remove(this.chips.at(-1));
      this.input.focus();
    }
  }

  #acceptDrops(chip) {
    onDrop(chip.element, (files) => this.show(chip, files));
  }
}

/** Let files be dropped on an element. */
export function onDrop(target, take) {
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
  target.addEventListener("dragover", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    event.stopPropagation();
    target.classList.add("over");
  });
  target.addEventListener("dragleave", () => target.classList.remove("over"));
  target.addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    event.stopPropagation();
    target.classList.remove("over");
    const files = [...event.dataTransfer.files];
    if (files.length) take(files);
  });
}

export function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

function iconButton(icon, label, act) {
  const button = element("button");
  button.type = "button";
  button.innerHTML = ICONS[icon];
  button.title = label;
  button.setAttribute("aria-label", label);
  button.addEventListener("click", act);
  return button;
}
