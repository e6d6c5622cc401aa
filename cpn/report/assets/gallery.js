"use strict";
// Shows the records of #report-data as cards and, enlarged, in a dialog. Text goes in as text nodes
// only: names in it come from files. Points are in the photo's pixels.
(() => {
  const PAGE = 24;
  const SVG = "http://www.w3.org/2000/svg";
  const LETTERS = { jitter: "J", inversion: "I", swap: "S", miss: "M" };
  const byId = (id) => document.getElementById(id);
  const { names, limbs, items } = JSON.parse(byId("report-data").textContent);

  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }

  function draw(tag, attributes = {}, ...children) {
    const element = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }

  if (!items.length) return;

  // ---- one instance over its photo
  const isWrong = (type) => type in LETTERS;
  const words = (kind) => kind.replaceAll("_", " ");
  const number = (value, digits) => (value === null ? "–" : value.toFixed(digits));
  const isFinitePoint = (point) => point[0] !== null && point[1] !== null;

  // What is not labelled is not scored: it is drawn, but faintly.
  function skeleton(points, isDrawn, className, radius, isScored = () => true) {
    const faint = (...ends) => (ends.every(isScored) ? "" : " faint");
    const group = draw("g", { class: className });
    for (const layer of ["halo", "stroke"]) {
      for (const [a, b] of limbs) {
        if (!isDrawn(points[a]) || !isDrawn(points[b])) continue;
        const [[x1, y1], [x2, y2]] = [points[a], points[b]];
        group.append(draw("line", { class: layer + faint(a, b), x1, y1, x2, y2 }));
      }
    }
    points.forEach((point, k) => {
      if (isDrawn(point)) group.append(draw("circle", { class: faint(k), cx: point[0], cy: point[1], r: radius }));
    });
    return group;
  }

  function wrongKeypoints(item, unit) {
    const group = draw("g", { class: "wrong predicted" });
    (item.types || []).forEach((type, k) => {
      if (!isWrong(type) || !item.predicted || !isFinitePoint(item.predicted[k])) return;
      const [x, y] = item.predicted[k];
      const truth = item.truth && item.truth[k];
      if (truth && truth[2] > 0) {
        group.append(draw("line", { class: "way", x1: x, y1: y, x2: truth[0], y2: truth[1] }));
      }
      group.append(draw("circle", { class: `ring ${type}`, cx: x, cy: y, r: 2.2 * unit }));
      const label = draw("text", { x: x + 2.6 * unit, y: y - 1.4 * unit, "font-size": 5 * unit }, LETTERS[type]);
      label.append(draw("title", {}, `${names[k]}: ${type}`));
      group.append(label);
    });
    return group;
  }

  function describe(item) {
    const kinds = item.kinds.length ? item.kinds.map(words).join(", ") : "low OKS";
    return `Image ${item.image}: ${kinds}, OKS ${number(item.oks, 2)}, score ${number(item.score, 2)}`;
  }

  function picture(item) {
    const [x, y, width, height] = item.crop;
    const unit = Math.max(width, height) / 130;
    const svg = draw("svg", { viewBox: item.crop.join(" "), role: "img", "aria-label": describe(item) });
    if (item.picture) {
      svg.append(draw("image", { href: item.picture, x, y, width, height, preserveAspectRatio: "none" }));
    }
    const [left, top, boxWidth, boxHeight] = item.box;
    svg.append(draw("rect", { class: "box", x: left, y: top, width: boxWidth, height: boxHeight }));
    if (item.truth) svg.append(skeleton(item.truth, (p) => p[2] > 0 && isFinitePoint(p), "truth", 1.3 * unit));
    const isScored = (k) => !item.truth || item.truth[k][2] > 0;
    if (item.predicted) svg.append(skeleton(item.predicted, isFinitePoint, "predicted", 1.3 * unit, isScored));
    svg.append(wrongKeypoints(item, unit));
    return svg;
  }

  function tags(item) {
    const list = item.kinds.map((kind) => make("span", { class: "tag" }, make("span", { class: `dot ${kind}` }), words(kind)));
    return list.length ? list : [make("span", { class: "tag" }, "low OKS")];
  }

  function card(item, place) {
    const frame = make("span", { class: "frame" }, picture(item));
    if (item.problem) frame.append(make("span", { class: "problem" }, "no picture"));
    const figures = `OKS ${number(item.oks, 2)} · score ${number(item.score, 2)}`;
    const caption = make("span", { class: "caption" }, make("span", {}, ...tags(item)), make("span", {}, figures));
    const button = make("button", { type: "button", class: "card", "aria-haspopup": "dialog" }, frame, caption);
    button.addEventListener("click", () => open(place));
    return make("li", {}, button);
  }

  // ---- sort and filter
  const form = byId("filters");
  const cards = byId("cards");
  const more = byId("more");
  let chosen = [];

  function matches(item) {
    const { kind, keypoint, image } = form.elements;
    const only = kind.value;
    if (only && !item.kinds.includes(only)) return false;
    if (image.value.trim() && String(item.image) !== image.value.trim()) return false;
    if (!keypoint.value) return true;
    // Of a swap, say, and the left wrist: those whose left wrist is swapped.
    const type = (item.types || [])[Number(keypoint.value)];
    return only in LETTERS ? type === only : isWrong(type);
  }

  function compare(a, b) {
    const key = form.elements.sort.value;
    const sign = key.startsWith("-") ? -1 : 1;
    const [first, second] = [a, b].map((item) => item[key.replace("-", "")]);
    if (first === null || second === null) return (first === null) - (second === null);
    return sign * (first - second);
  }

  function showMore() {
    const shown = cards.childElementCount;
    const added = chosen.slice(shown, shown + PAGE).map((item, at) => card(item, shown + at));
    cards.append(...added);
    const count = cards.childElementCount;
    more.hidden = count === chosen.length;
    byId("status").textContent = chosen.length
      ? `${count} of ${chosen.length} matching instances shown, ${items.length} in all.`
      : "No instance matches; choose another kind, keypoint or image.";
    return added;
  }

  function update() {
    chosen = items.filter(matches).sort(compare);
    cards.replaceChildren();
    showMore();
  }

  function updateLayers() {
    for (const layer of ["truth", "predicted", "box"]) {
      document.body.classList.toggle(`without-${layer}`, !form.elements[layer].checked);
    }
  }

  // A text's "change" comes when it is left, perhaps for a card: that must not be replaced under the click.
  form.elements.image.addEventListener("input", update);
  form.addEventListener("change", ({ target }) => {
    if (target.type === "checkbox") updateLayers();
    else if (target.name !== "image") update();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => {
    const [first] = showMore();
    if (first) first.firstElementChild.focus();
  });

  // ---- enlarged
  const viewer = byId("viewer");
  let current = 0;

  function row(...cells) {
    return make("tr", {}, ...cells);
  }

  function facts(item) {
    const known = {
      OKS: number(item.oks, 4),
      score: number(item.score, 4),
      image: String(item.image),
      photo: item.name || "–",
      annotation: item.annotation === null ? "none" : String(item.annotation),
      "result no.": item.result === null ? "none" : String(item.result),
      size: `${item.size.toFixed(0)} px (root of the box area)`,
    };
    if (item.problem) known["no picture"] = item.problem;
    const list = make("dl", { class: "facts" });
    for (const [name, value] of Object.entries(known)) {
      list.append(make("div", {}, make("dt", {}, name), make("dd", {}, value)));
    }
    return list;
  }

  function distance(item, k) {
    const [truth, predicted] = [item.truth && item.truth[k], item.predicted && item.predicted[k]];
    if (!truth || !predicted || !(truth[2] > 0) || !isFinitePoint(predicted)) return null;
    return Math.hypot(truth[0] - predicted[0], truth[1] - predicted[1]);
  }

  function keypointTable(item) {
    const head = ["keypoint", "type", "off by", "score"].map((name) => make("th", { scope: "col" }, name));
    const body = make("tbody");
    names.forEach((name, k) => {
      const type = item.types && item.types[k];
      const shown = type ? [make("span", { class: `dot ${type}` }), type] : ["–"];
      const off = distance(item, k);
      const score = item.predicted ? number(item.predicted[k][2], 2) : "–";
      body.append(row(
        make("th", { scope: "row" }, name),
        make("td", {}, ...shown),
        make("td", { class: "number" }, off === null ? "–" : `${off.toFixed(1)} px`),
        make("td", { class: "number" }, score),
      ));
    });
    return make("table", {}, make("caption", {}, "Keypoints"), make("thead", {}, row(...head)), body);
  }

  function show(place) {
    current = (place + chosen.length) % chosen.length;
    const item = chosen[current];
    byId("viewer-title").replaceChildren(`${current + 1} of ${chosen.length}`, make("span", { class: "tags" }, ...tags(item)));
    byId("stage").replaceChildren(picture(item));
    byId("details").replaceChildren(facts(item), keypointTable(item));
    byId("details").scrollTop = 0;
  }

  function open(place) {
    show(place);
    viewer.showModal();
  }

  byId("previous").addEventListener("click", () => show(current - 1));
  byId("next").addEventListener("click", () => show(current + 1));
  byId("close").addEventListener("click", () => viewer.close());
  viewer.addEventListener("click", (event) => event.target === viewer && viewer.close());
  viewer.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    show(current + step);
  });
  viewer.addEventListener("close", () => {
    while (cards.childElementCount <= current) showMore();
    cards.children[current].firstElementChild.focus();
  });

  byId("gallery-app").hidden = false;
  updateLayers();
  update();
})();
