// The photo with boxes and skeletons. Coordinates are the photo's: boxes by their edges, keypoints by
// pixel index, so that a keypoint is drawn half a pixel further.
import { draw } from "./server.js";

const NEAR = 28; // screen pixels from a keypoint that still mean its person

export class PhotoView {
  // onChoose(n): a person was clicked; onHover(n): the pointer is over one, or null.
  constructor(svg, label, model, { onChoose, onHover }) {
    Object.assign(this, { svg, label, model, onHover, people: [], groups: [], threshold: 0 });
    Object.assign(this, { chosen: null, keypoint: null });
    this.isDrawing = false;
    this.layer = draw("g");
    svg.addEventListener("pointermove", (event) => this.#pointAt(event));
    svg.addEventListener("pointerleave", () => this.#leave());
    svg.addEventListener("click", (event) => {
      const found = this.isDrawing ? null : this.#under(event);
      if (found) onChoose(found.person);
    });
    new ResizeObserver(() => this.#resize()).observe(svg);
  }

  show({ key, width, height }) {
    this.size = [width, height];
    this.people = [];
    this.groups = [];
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    // A panorama stays high enough to see somebody in it; it is then scrolled.
    this.svg.style.setProperty("--aspect", width / height);
    this.layer = draw("g");
    const href = `/api/photos/${key}/picture`;
    const image = draw("image", { href, width, height, preserveAspectRatio: "none" });
    this.svg.replaceChildren(image, this.layer);
  }

  add(person) {
    this.people.push(person);
    const group = draw("g", { class: "person" });
    this.groups.push(group);
    this.layer.append(group);
    this.#fill(this.people.length - 1);
  }

  setThreshold(threshold) {
    this.threshold = threshold;
    this.people.forEach((_, n) => this.#fill(n));
  }

  choose(n) {
    this.chosen = n;
    this.#mark(null);
    if (this.groups[n]) this.layer.append(this.groups[n]); // on top
  }

  // Marks a keypoint of the chosen person; null: none.
  nameKeypoint(k) {
    this.keypoint = k;
    this.#mark(null);
  }

  highlight(n) {
    this.#mark(n);
  }

  // Photo coordinates of a pointer event.
  toPhoto(event) {
    const point = new DOMPoint(event.clientX, event.clientY);
    const { x, y } = point.matrixTransform(this.svg.getScreenCTM().inverse());
    return [x, y];
  }

  #isShown = ([x, y, score]) => score >= this.threshold;

  #fill(n) {
    const { limbs, limb_colors, keypoint_colors } = this.model;
    const { box: [x1, y1, x2, y2], keypoints } = this.people[n];
    const group = this.groups[n];
    group.replaceChildren(draw("rect", { class: "box", x: x1, y: y1, width: x2 - x1, height: y2 - y1 }));
    for (const layer of ["halo", "limb"]) {
      limbs.forEach(([a, b], index) => {
        if (!this.#isShown(keypoints[a]) || !this.#isShown(keypoints[b])) return;
        const [[ax, ay], [bx, by]] = [keypoints[a], keypoints[b]];
        const ends = { x1: ax + 0.5, y1: ay + 0.5, x2: bx + 0.5, y2: by + 0.5 };
        group.append(draw("line", { class: layer, stroke: limb_colors[index], ...ends }));
      });
    }
    keypoints.forEach((keypoint, k) => {
      if (!this.#isShown(keypoint)) return;
      const place = { cx: keypoint[0] + 0.5, cy: keypoint[1] + 0.5 };
      group.append(draw("circle", { fill: keypoint_colors[k], "data-k": k, ...place }));
    });
    const number = draw("text", { x: x1, y: y1, class: "number" }, String(n + 1));
    group.append(number);
    this.#resize(group);
  }

  // What has a size on the screen: circles and numbers; lines are not scaled anyway.
  #resize(where = this.svg) {
    const matrix = this.svg.getScreenCTM();
    if (!matrix) return;
    const unit = 1 / matrix.a;
    for (const circle of where.querySelectorAll("circle")) circle.setAttribute("r", 4 * unit);
    for (const text of where.querySelectorAll("text.number")) {
      text.setAttribute("font-size", 13 * unit);
      text.setAttribute("dx", 5 * unit);
      text.setAttribute("dy", 15 * unit);
    }
  }

  // The person that the pointer means: the one with the nearest keypoint, else the smallest box.
  #under(event) {
    const [x, y] = this.toPhoto(event);
    const scale = this.svg.getScreenCTM().a;
    let best = null;
    this.people.forEach(({ keypoints }, person) => {
      keypoints.forEach((keypoint, k) => {
        const distance = Math.hypot(keypoint[0] + 0.5 - x, keypoint[1] + 0.5 - y) * scale;
        const isNearer = distance < NEAR && (!best || distance < best.distance);
        if (this.#isShown(keypoint) && isNearer) best = { person, k, distance };
      });
    });
    if (best) return best;
    const area = ({ box: [x1, y1, x2, y2] }) => (x2 - x1) * (y2 - y1);
    const around = this.people
      .map((person, n) => ({ person: n, k: null, area: area(person), box: person.box }))
      .filter(({ box: [x1, y1, x2, y2] }) => x >= x1 && x <= x2 && y >= y1 && y <= y2);
    return around.sort((a, b) => a.area - b.area)[0] || null;
  }

  #pointAt(event) {
    const found = this.isDrawing ? null : this.#under(event);
    this.#mark(found && found.person, found && found.k);
    this.onHover(found && found.person);
    if (!found || found.k === null) {
      this.label.hidden = true;
      return;
    }
    const score = this.people[found.person].keypoints[found.k][2];
    this.label.textContent = `${found.person + 1}: ${this.model.names[found.k]} ${score.toFixed(2)}`;
    this.label.hidden = false;
    const stage = this.label.offsetParent.getBoundingClientRect();
    const left = Math.min(event.clientX - stage.left + 14, stage.width - this.label.offsetWidth - 4);
    this.label.style.left = `${Math.max(4, left)}px`;
    this.label.style.top = `${Math.max(4, event.clientY - stage.top - 34)}px`;
  }

  #leave() {
    this.#mark(null);
    this.onHover(null);
    this.label.hidden = true;
  }

  #mark(hot, k = null) {
    this.layer.classList.toggle("has-hot", hot !== null);
    this.groups.forEach((group, n) => {
      group.classList.toggle("hot", n === hot);
      group.classList.toggle("chosen", n === this.chosen);
      for (const circle of group.querySelectorAll("circle")) {
        const own = Number(circle.dataset.k);
        const isNamed = (n === hot && own === k) || (n === this.chosen && own === this.keypoint);
        circle.classList.toggle("named", isNamed);
      }
    });
  }
}
