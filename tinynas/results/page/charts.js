"use strict";
// What the charts of every report are drawn with.
const page = (() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const NS = "http://www.w3.org/2000/svg";

  function make(name, attributes, text) {
    const element = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    return element;
  }

  function number(value, digits) {
    return value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  }

  // Round steps of 1, 2 or 5 times a power of ten.
  function ticks(low, high, count) {
    const raw = (high - low) / count;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999);
    const found = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) found.push(k * step + 0);
    return found.map((value) => ({ value, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) }));
  }

  // 1, 2 and 5 times powers of ten; over many decades the powers alone.
  function logTicks(low, high) {
    const found = [];
    const steps = high / low > 200 ? [1] : [1, 2, 5];
    for (let power = 10 ** Math.floor(Math.log10(low)); power <= high; power *= 10) {
      for (const step of steps) if (step * power >= low && step * power <= high) found.push({ value: step * power, digits: 0 });
    }
    return found;
  }

  function short(value, digits) {
    if (value >= 1e6) return number(value / 1e6, value % 1e6 ? 1 : 0) + " M";
    if (value >= 1e4) return number(value / 1e3, value % 1e3 ? 1 : 0) + " k";
    return number(value, digits);
  }

  function padded(low, high) {
    const room = Math.max((high - low) * 0.06, Math.abs(high) * 1e-4, 1e-9);
    return [low - room, high + room];
  }

  // An empty chart with axes; `plot.x` and `plot.y` turn values into pixels.
  function axes(box, spec) {
    box.replaceChildren();
    const width = Math.max(box.clientWidth, 240), height = box.clientHeight;
    const left = 58, right = 14, top = 30, bottom = 44;
    const svg = make("svg", { width, height, "aria-hidden": "true" });
    const [x0, x1] = spec.x, [y0, y1] = spec.y;
    const place = spec.log ? (v) => Math.log(v / x0) / Math.log(x1 / x0) : (v) => (v - x0) / (x1 - x0);
    const plot = {
      svg, width, height, left, right, top, bottom,
      x: (v) => left + place(v) * (width - left - right),
      y: (v) => height - bottom - ((v - y0) / (y1 - y0)) * (height - top - bottom),
    };
    const ranks = spec.ranks && Array.from({ length: spec.ranks }, (_, place) => ({ value: place + 1, digits: 0 }));
    for (const tick of ranks || ticks(y0, y1, 5)) {
      const y = plot.y(tick.value);
      svg.append(make("line", { class: "grid", x1: left, x2: width - right, y1: y, y2: y }));
      svg.append(make("text", { x: left - 8, y: y + 4, "text-anchor": "end" }, number(tick.value, tick.digits)));
    }
    const few = Math.max(4, Math.floor(width / 110));
    for (const tick of ranks || (spec.log ? logTicks(x0, x1) : ticks(x0, x1, few))) {
      svg.append(make("text", { x: plot.x(tick.value), y: height - bottom + 18, "text-anchor": "middle" }, short(tick.value, tick.digits)));
    }
    svg.append(make("text", { x: width - right, y: height - 6, "text-anchor": "end" }, spec.xName));
    svg.append(make("text", { x: left, y: 12 }, "\u2191 " + spec.yName));
    box.append(svg);
    return plot;
  }

  // Nearest point under the pointer, or stepped through by arrow keys.
  function hover(box, plot, points, rows) {
    const tip = document.createElement("div");
    tip.className = "tip";
    tip.hidden = true;
    tip.setAttribute("role", "status");
    const line = make("line", { class: "cursor", y1: plot.top, y2: plot.height - plot.bottom, visibility: "hidden" });
    const spot = make("circle", { class: "spot", r: 5, visibility: "hidden" });
    plot.svg.append(line, spot);
    box.append(tip);
    let at = -1;
    function show(index) {
      at = Math.max(0, Math.min(points.length - 1, index));
      const [x, y] = points[at];
      for (const [key, value] of Object.entries({ x1: x, x2: x, visibility: "visible" })) line.setAttribute(key, value);
      for (const [key, value] of Object.entries({ cx: x, cy: y, visibility: "visible" })) spot.setAttribute(key, value);
      const list = document.createElement("dl");
      for (const [name, value] of rows(at)) {
        const dt = document.createElement("dt"), dd = document.createElement("dd");
        dt.textContent = name;
        dd.textContent = value;
        list.append(dt, dd);
      }
      tip.replaceChildren(list);
      tip.hidden = false;
      const beside = x + 14 + tip.offsetWidth > plot.width ? x - 14 - tip.offsetWidth : x + 14;
      tip.style.left = Math.max(0, Math.min(beside, plot.width - tip.offsetWidth)) + "px";
      // curves rise: below is free
      tip.style.top = Math.max(0, Math.min(y + 14, plot.height - tip.offsetHeight)) + "px";
    }
    function hide() {
      tip.hidden = true;
      line.setAttribute("visibility", "hidden");
      spot.setAttribute("visibility", "hidden");
    }
    box.onpointermove = (event) => {
      const frame = box.getBoundingClientRect(), x = event.clientX - frame.left, y = event.clientY - frame.top;
      let best = 0, least = Infinity;
      points.forEach(([px, py], index) => {
        const distance = Math.abs(px - x) + Math.abs(py - y) * 0.2;
        if (distance < least) [best, least] = [index, distance];
      });
      show(best);
    };
    box.onpointerdown = box.onpointermove;
    box.onpointerleave = hide;
    box.onblur = hide;
    box.onkeydown = (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, Home: -1e9, End: 1e9 }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      show((at < 0 ? (step > 0 ? -1 : points.length) : at) + step);
    };
  }

  function copied(button, done) {
    button.textContent = done ? "Copied" : "Select it";
    setTimeout(() => { button.textContent = "Copy"; }, 1600);
  }

  // Copy buttons, and `draw` now and whenever the width changes.
  function start(draw) {
    for (const button of document.querySelectorAll(".copy")) {
      button.addEventListener("click", () => {
        const code = button.parentElement.querySelector("code");
        const byHand = () => {
          getSelection().selectAllChildren(code);
          copied(button, document.execCommand("copy"));
        };
        if (!navigator.clipboard) byHand();
        else navigator.clipboard.writeText(code.textContent).then(() => copied(button, true), byHand);
      });
    }
    let width = document.body.clientWidth;
    new ResizeObserver(() => {
      if (document.body.clientWidth === width) return;
      width = document.body.clientWidth;
      draw();
    }).observe(document.body);
    draw();
  }

  return { data, make, number, padded, axes, hover, start };
})();
