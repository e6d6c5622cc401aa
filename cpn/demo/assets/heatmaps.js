// The heatmaps of one person over the crop that the network saw, stage by stage.
import { bytesOf } from "./server.js";

// Every 17th of the 256 colours of OpenCV's and matplotlib's "inferno".
const INFERNO = [
  "#000004", "#0c0826", "#240c4f", "#420a68", "#5d126e", "#781c6d", "#932667", "#ae305c",
  "#c73e4c", "#dd513a", "#ed6925", "#f8850f", "#fca50a", "#fac62d", "#f2e661", "#fcffa4",
];
const HEIGHT = 640; // of the canvas, in its own pixels
const READ = { willReadFrequently: true }; // pixels are set and read by hand
const DARKENED = 0.55; // of the crop's grey, as in cpn.visualization

const COLORS = Array.from({ length: 256 }, (_, value) => {
  const place = value / 17;
  const low = Math.min(Math.floor(place), INFERNO.length - 2);
  const channel = (n, at) => parseInt(INFERNO[n].slice(at, at + 2), 16);
  return [1, 3, 5].map((at) => channel(low, at) + (place - low) * (channel(low + 1, at) - channel(low, at)));
});

export class HeatmapView {
  constructor(canvas, model) {
    Object.assign(this, { canvas, model, stages: null });
  }

  async load({ crop, width, height, stages }) {
    const picture = await createImageBitmap(new Blob([bytesOf(crop)], { type: "image/png" }));
    this.zoom = HEIGHT / height;
    this.canvas.width = Math.round(width * this.zoom);
    this.canvas.height = HEIGHT;
    this.grey = this.#grey(picture);
    this.stages = stages.map((stage) => ({ ...stage, maps: bytesOf(stage.maps) }));
  }

  // Draws stage `index` of keypoint `k`, null: of all, each cell the highest of them; returns a
  // caption.
  show(index, k, { withPoints, threshold }) {
    const stage = this.stages[index];
    const [height, width] = stage.size;
    const shares = this.#scaled(k === null ? highest(stage) : single(stage, k), width, height);
    const context = this.canvas.getContext("2d", READ);
    context.putImageData(this.#coloured(shares), 0, 0);
    if (withPoints) this.#points(context, stage, k, threshold);
    const peak = k === null ? Math.max(...stage.peaks) : stage.peaks[k];
    return { peak, height, width };
  }

  #grey(picture) {
    const { width, height } = this.canvas;
    const context = new OffscreenCanvas(width, height).getContext("2d", READ);
    context.imageSmoothingQuality = "high";
    context.drawImage(picture, 0, 0, width, height);
    const { data } = context.getImageData(0, 0, width, height);
    const grey = new Float32Array(width * height);
    for (let i = 0; i < grey.length; i += 1) {
      const at = 4 * i;
      grey[i] = DARKENED * (0.299 * data[at] + 0.587 * data[at + 1] + 0.114 * data[at + 2]);
    }
    return grey;
  }

  // (h, w) shares 0..255 -> as many as the canvas has pixels, bilinear, edge to edge.
  #scaled(shares, width, height) {
    const small = new OffscreenCanvas(width, height);
    const image = new ImageData(width, height);
    shares.forEach((share, i) => image.data.set([share, share, share, 255], 4 * i));
    small.getContext("2d").putImageData(image, 0, 0);
    const context = new OffscreenCanvas(this.canvas.width, this.canvas.height).getContext("2d", READ);
    context.drawImage(small, 0, 0, this.canvas.width, this.canvas.height);
    return context.getImageData(0, 0, this.canvas.width, this.canvas.height).data;
  }

  #coloured(shares) {
    const image = new ImageData(this.canvas.width, this.canvas.height);
    for (let i = 0; i < this.grey.length; i += 1) {
      const value = shares[4 * i];
      const share = value / 255;
      const [red, green, blue] = COLORS[value];
      const rest = this.grey[i] * (1 - share);
      image.data[4 * i] = rest + red * share;
      image.data[4 * i + 1] = rest + green * share;
      image.data[4 * i + 2] = rest + blue * share;
      image.data[4 * i + 3] = 255;
    }
    return image;
  }

  #points(context, { points, peaks }, k, threshold) {
    const { limbs, limb_colors, keypoint_colors } = this.model;
    const at = (n) => points[n].map((value) => (value + 0.5) * this.zoom);
    const isShown = (n) => (k === null ? peaks[n] >= threshold : n === k);
    context.lineCap = "round";
    const line = (from, to, color, width) => {
      context.beginPath();
      context.moveTo(...from);
      context.lineTo(...to);
      context.strokeStyle = color;
      context.lineWidth = width;
      context.stroke();
    };
    limbs.forEach(([a, b], index) => {
      if (!isShown(a) || !isShown(b)) return;
      line(at(a), at(b), "#000a", 7);
      line(at(a), at(b), limb_colors[index], 3.5);
    });
    points.forEach((_, n) => {
      if (!isShown(n)) return;
      context.beginPath();
      context.arc(...at(n), 7, 0, 2 * Math.PI);
      context.fillStyle = keypoint_colors[n];
      context.fill();
      context.strokeStyle = "#000c";
      context.lineWidth = 2.5;
      context.stroke();
    });
  }
}

// One map, from its own 0 to its peak.
function single({ maps, size: [height, width] }, k) {
  return maps.subarray(k * height * width, (k + 1) * height * width);
}

// In each cell the highest of all maps, from 0 to the highest peak.
function highest({ maps, peaks, size: [height, width] }) {
  const cells = height * width;
  const found = new Uint8Array(cells);
  const most = Math.max(...peaks, 1e-12);
  peaks.forEach((peak, k) => {
    for (let i = 0; i < cells; i += 1) {
      found[i] = Math.max(found[i], (maps[k * cells + i] * peak) / most);
    }
  });
  return found;
}
