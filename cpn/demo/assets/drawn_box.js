// A box drawn on the photo: by dragging, or by clicking one corner, then the other.
import { draw } from "./server.js";

const CLICK = 6; // screen pixels that a click may move

export class BoxDrawing {
  // onBox([x1, y1, x2, y2]) in photo coordinates; onEnd(): it is over, with a box or without.
  constructor(view, { onBox, onEnd }) {
    Object.assign(this, { view, onBox, onEnd, first: null });
    const { svg } = view;
    svg.addEventListener("pointerdown", (event) => this.#down(event));
    svg.addEventListener("pointermove", (event) => this.#move(event));
    svg.addEventListener("pointerup", (event) => this.#up(event));
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && view.isDrawing) this.end();
    });
  }

  begin() {
    this.view.isDrawing = true;
    this.view.svg.classList.add("drawing");
  }

  end() {
    this.view.isDrawing = false;
    this.view.svg.classList.remove("drawing");
    if (this.rectangle) this.rectangle.remove();
    this.first = this.rectangle = null;
    this.onEnd();
  }

  #down(event) {
    if (!this.view.isDrawing || event.button !== 0) return;
    event.preventDefault();
    if (this.first) return; // the second of two clicks: taken when it is let go
    this.view.svg.setPointerCapture(event.pointerId);
    this.first = { photo: this.view.toPhoto(event), screen: [event.clientX, event.clientY] };
    this.rectangle = draw("rect", { class: "drawn" });
    this.view.svg.append(this.rectangle);
  }

  #move(event) {
    if (!this.first) return;
    const [x1, y1, x2, y2] = this.#box(event);
    const place = { x: x1, y: y1, width: x2 - x1, height: y2 - y1 };
    for (const [key, value] of Object.entries(place)) this.rectangle.setAttribute(key, value);
  }

  #up(event) {
    if (!this.first) return;
    const [x, y] = this.first.screen;
    if (Math.hypot(event.clientX - x, event.clientY - y) < CLICK) return; // the first corner
    const box = this.#box(event);
    this.end();
    this.onBox(box);
  }

  #box(event) {
    const [width, height] = this.view.size;
    const [[ax, ay], [bx, by]] = [this.first.photo, this.view.toPhoto(event)];
    const inside = (value, most) => Math.min(Math.max(value, 0), most);
    return [
      inside(Math.min(ax, bx), width),
      inside(Math.min(ay, by), height),
      inside(Math.max(ax, bx), width),
      inside(Math.max(ay, by), height),
    ];
  }
}
