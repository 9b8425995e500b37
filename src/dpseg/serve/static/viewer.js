// The photo with colours over it: drawn here, so that opacity, hiding and pointing cost no request.

const OUTLINE = 0.85; // opacity of outlines
const DIMMED = 0.35; // of the colours of all others, while one is pointed at
const STEP = 0.01; // of the photo's width, per arrow key

export class Viewer {
  /** @param {{root: HTMLElement, canvas: HTMLCanvasElement, cross: HTMLElement, tip: HTMLElement,
   *   spoken: HTMLElement, pointed: (index: number|null) => void, asked: (x: number, y: number) => void}} parts */
  constructor(parts) {
    Object.assign(this, parts);
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
    this.opacity = 0.55;
    this.hidden = new Set();
    this.hot = null;
    const { root } = this;
    root.addEventListener("pointermove", (event) => this.#hover(this.#place(event), true));
    root.addEventListener("pointerleave", () => this.#leave());
    root.addEventListener("click", (event) => this.#ask(this.#place(event)));
    root.addEventListener("keydown", (event) => this.#key(event));
    root.addEventListener("blur", () => this.#leave());
  }

  /** Show a result: its photo, its index picture, and its classes. */
  async show(result, photo, indices) {
    const [shown, map] = await Promise.all([pixels(photo), pixels(indices)]);
    this.result = result;
    this.photo = shown.data;
    this.index = new Uint16Array(map.width * map.height);
    for (let i = 0; i < this.index.length; i++) {
      this.index[i] = map.data[4 * i] + 256 * map.data[4 * i + 1];
    }
    this.edge = outlines(this.index, map.width, map.height);
    this.colours = result.classes.map(({ colour }) =>
      [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16)),
    );
    this.hidden.clear();
    this.hot = null;
    this.canvas.width = map.width;
    this.canvas.height = map.height;
    const shownWidth = map.width * Math.max(1, 1000 / Math.max(map.width, map.height));
    this.root.style.width = `min(100%, ${shownWidth}px, ${(78 * map.width) / map.height}vh)`;
    this.cross.hidden = true;
    this.at = null;
    this.draw();
  }

  setOpacity(opacity) {
    this.opacity = opacity;
    this.draw();
  }

  setHidden(hidden) {
    this.hidden = hidden;
    this.draw();
  }

  /** Let one class stand out; null for none. */
  highlight(index) {
    if (index === this.hot) return;
    this.hot = index;
    this.draw();
  }

  draw() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.#paint());
  }

  #paint() {
    if (!this.result) return;
    const { index, photo, edge, colours, opacity, hidden, hot } = this;
    const image = this.context.createImageData(this.canvas.width, this.canvas.height);
    const out = image.data;
    for (let i = 0, p = 0; i < index.length; i++, p += 4) {
      const label = index[i] - 1;
      let [red, green, blue] = [photo[p], photo[p + 1], photo[p + 2]];
      if (label < 0) {
        const pale = 0.75 * ((red + green + blue) / 3) + 64;
        const share = opacity * 0.9;
        red += share * (pale - red);
        green += share * (pale - green);
        blue += share * (pale - blue);
      } else if (!hidden.has(label)) {
        const colour = colours[label];
        let share = hot === null ? opacity : label === hot ? Math.max(opacity, 0.6) : opacity * DIMMED;
        if (edge[i] && opacity > 0) share = Math.max(share, OUTLINE);
        const lift = edge[i] ? 0.35 : 0; // outlines are lighter than what they surround
        red += share * (colour[0] + lift * (255 - colour[0]) - red);
        green += share * (colour[1] + lift * (255 - colour[1]) - green);
        blue += share * (colour[2] + lift * (255 - colour[2]) - blue);
      }
      out[p] = red;
      out[p + 1] = green;
      out[p + 2] = blue;
      out[p + 3] = 255;
    }
    this.context.putImageData(image, 0, 0);
  }

  /** Where on the photo an event is, as shares of its width and height. */
  #place(event) {
    const box = this.canvas.getBoundingClientRect();
    return {
      across: clamp((event.clientX - box.left) / box.width),
      down: clamp((event.clientY - box.top) / box.height),
    };
  }

  #labelAt({ across, down }) {
    const x = Math.min(this.canvas.width - 1, Math.floor(across * this.canvas.width));
    const y = Math.min(this.canvas.height - 1, Math.floor(down * this.canvas.height));
    return this.index[y * this.canvas.width + x] - 1;
  }

  #hover(place, follow) {
    if (!this.result) return;
    const label = this.#labelAt(place);
    const found = label >= 0 ? this.result.classes[label] : null;
    this.tip.replaceChildren();
    if (found) {
      const dot = document.createElement("span");
      dot.className = "dot";
      dot.style.background = found.colour;
      this.tip.append(dot);
    }
    const words = found?.name ?? "unlabelled";
    this.tip.append(words);
    this.tip.hidden = false;
    const box = this.root.getBoundingClientRect();
    const left = Math.min(place.across * box.width + 14, box.width - this.tip.offsetWidth - 4);
    const below = place.down * box.height + 18;
    const above = place.down * box.height - this.tip.offsetHeight - 12;
    this.tip.style.left = `${Math.max(0, left)}px`;
    this.tip.style.top = `${below + this.tip.offsetHeight > box.height ? above : below}px`;
    if (!follow) this.spoken.textContent = words;
    const seen = found && !this.hidden.has(label) ? label : null;
    this.highlight(seen);
    this.pointed(seen);
  }

  #leave() {
    this.tip.hidden = true;
    this.highlight(null);
    this.pointed(null);
  }

  #ask(place) {
    if (!this.result) return;
    this.at = place;
    this.cross.hidden = false;
    this.cross.style.left = `${100 * place.across}%`;
    this.cross.style.top = `${100 * place.down}%`;
    const { width, height } = this.result;
    this.asked(
      Math.min(width - 1, Math.floor(place.across * width)),
      Math.min(height - 1, Math.floor(place.down * height)),
    );
  }

  #key(event) {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const step = steps[event.key];
    if (step && this.result) {
      const length = STEP * (event.shiftKey ? 5 : 1);
      const at = this.at ?? { across: 0.5, down: 0.5 };
      this.at = {
        across: clamp(at.across + step[0] * length),
        down: clamp(at.down + step[1] * length * (this.canvas.width / this.canvas.height)),
      };
      this.cross.hidden = false;
      this.cross.style.left = `${100 * this.at.across}%`;
      this.cross.style.top = `${100 * this.at.down}%`;
      this.#hover(this.at, false);
    } else if (event.key === "Enter" || event.key === " ") {
      this.#ask(this.at ?? { across: 0.5, down: 0.5 });
    } else if (event.key === "Escape") {
      this.cross.hidden = true;
      this.#leave();
    } else {
      return;
    }
    event.preventDefault();
  }
}

const clamp = (share) => Math.min(0.999999, Math.max(0, share));

/** Decode a picture to exact pixels. */
async function pixels(blob) {
  const bitmap = await createImageBitmap(blob, {
    colorSpaceConversion: "none",
    premultiplyAlpha: "none",
  });
  const canvas = document.createElement("canvas");
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height);
}

/** Mark the pixels whose right or lower neighbour has another label, and these neighbours. */
function outlines(index, width, height) {
  const edge = new Uint8Array(index.length);
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      if (x + 1 < width && index[i] !== index[i + 1]) edge[i] = edge[i + 1] = 1;
      if (y + 1 < height && index[i] !== index[i + width]) edge[i] = edge[i + width] = 1;
    }
  }
  return edge;
}
