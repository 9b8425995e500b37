// What the user says of places: it is, or is not; undone one by one, saved, kept for the next photo.

import { element } from "./chips.js";
import * as service from "./service.js";

export class Corrections {
  /** @param {{bar: HTMLElement, words: HTMLElement, undo: HTMLButtonElement, forget: HTMLButtonElement,
   *   picker: HTMLInputElement, shown: (answer: object, name?: string) => Promise<void>,
   *   failed: (error: Error) => void}} parts */
  constructor(parts) {
    Object.assign(this, parts);
    this.file = null;
    this.earlier = [];
    this.undo.addEventListener("click", () => this.#undo());
    this.forget.addEventListener("click", () => {
      this.file = null;
      this.earlier = [];
      this.#tell(0);
    });
    this.picker.addEventListener("change", () => {
      if (!this.picker.files.length) return;
      this.file = this.picker.files[0];
      this.words.textContent = `${this.file.name} is used for the next photo.`;
      this.bar.hidden = false;
      this.undo.hidden = true;
      this.picker.value = "";
    });
  }

  /** Begin with the answer to a photo: its result and its index picture. */
  begin(answer) {
    this.answer = { ...answer, file: this.file };
    this.earlier = [];
    this.#tell(answer.result.settings.corrections);
  }

  /** Make the controls that stand under an explanation of a place. */
  controls(x, y, label) {
    const form = element("form", "correct");
    const input = element("input");
    input.type = "text";
    input.placeholder = "another name";
    input.setAttribute("aria-label", "What this place is");
    input.setAttribute("list", "class-names");
    const names = element("datalist");
    names.id = "class-names";
    names.append(...this.answer.result.classes.map(({ name }) => new Option(name)));
    const is = element("button", "", "This is it");
    form.append(element("h4", "", label === null ? "Is something missing?" : "Is it wrong?"), input, names, is);
    if (label !== null) {
      const isNot = element("button", "", `This is not “${label}”`);
      isNot.type = "button";
      isNot.addEventListener("click", () => this.#say({ x, y, name: label, wanted: false }));
      form.append(isNot);
    }
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const name = input.value.trim();
      if (name) this.#say({ x, y, name, wanted: true });
      else input.focus();
    });
    return form;
  }

  async #say(said) {
    if (this.busy) return;
    this.busy = true;
    try {
      const result = await service.correct(this.answer.result.id, [said]);
      const [indices, file] = await Promise.all([
        service.picture(result.id, "index.png"),
        service.picture(result.id, "corrections"),
      ]);
      this.earlier.push(this.answer);
      await this.#show({ ...this.answer, result, indices, file }, said.wanted ? said.name : undefined);
    } catch (error) {
      this.failed(error);
    } finally {
      this.busy = false;
    }
  }

  async #undo() {
    if (this.busy || !this.earlier.length) return;
    await this.#show(this.earlier.pop()).catch(this.failed);
  }

  async #show(answer, name) {
    this.answer = answer;
    this.file = answer.file;
    this.#tell(answer.result.settings.corrections);
    await this.shown(answer, name);
  }

  #tell(count) {
    this.bar.hidden = !count;
    this.undo.hidden = !this.earlier.length;
    const many = count === 1 ? "1 correction is" : `${count} corrections are`;
    this.words.textContent = `${many} kept for the next photo.`;
  }
}
