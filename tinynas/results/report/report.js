"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const NS = "http://www.w3.org/2000/svg";
  let selected = 0;

  function make(name, attributes, text) {
    const element = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    return element;
  }

  function number(value, digits) {
    return value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  }

  function shown(column, value) {
    return number(value / column.scale, column.digits) + (column.unit ? " " + column.unit : "");
  }

  // Round steps of 1, 2 or 5 times a power of ten.
  function ticks(low, high, count) {
    const raw = (high - low) / count;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999);
    const found = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) found.push(k * step);
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
    for (const tick of ticks(y0, y1, 5)) {
      const y = plot.y(tick.value);
      svg.append(make("line", { class: "grid", x1: left, x2: width - right, y1: y, y2: y }));
      svg.append(make("text", { x: left - 8, y: y + 4, "text-anchor": "end" }, number(tick.value, tick.digits)));
    }
    const few = Math.max(3, Math.floor(width / 110));
    for (const tick of spec.log ? logTicks(x0, x1) : ticks(x0, x1, few)) {
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

  function drawFront() {
    const box = document.getElementById("front"), front = data.front;
    if (!box || !front) return;
    const { columns, rows, marks } = front, across = columns[front.x], up = columns[front.y];
    const xs = rows.map((row) => row[front.x]).concat(marks.map((m) => m.x)).map((v) => v / across.scale);
    const ys = rows.map((row) => row[front.y]).concat(marks.map((m) => m.y));
    const name = across.label + (across.unit ? ", " + across.unit : "");
    const spread = padded(Math.min(...xs), Math.max(...xs));
    const plot = axes(box, { x: spread, y: padded(Math.min(...ys), Math.max(...ys)), xName: name + " \u2192", yName: up.label });
    const points = rows.map((row) => [plot.x(row[front.x] / across.scale), plot.y(row[front.y])]);
    const mine = marks.find((m) => m.member === selected);
    if (mine && mine.limit !== null) {
      const x = plot.x(mine.limit / across.scale);
      if (x >= plot.left && x <= plot.width) {
        plot.svg.append(make("line", { class: "limit", x1: x, x2: x, y1: plot.top, y2: plot.height - plot.bottom }));
        const inside = plot.width - x > 80 ? { x: x + 6 } : { x: x - 6, "text-anchor": "end" };
        plot.svg.append(make("text", { ...inside, y: plot.height - plot.bottom - 7 }, "budget"));
      }
    }
    plot.svg.append(make("path", { class: "curve", d: points.map(([x, y], i) => (i ? "L" : "M") + x.toFixed(1) + " " + y.toFixed(1)).join("") }));
    hover(box, plot, points, (at) => columns.map((column, i) => [column.name, shown(column, rows[at][i])]));
    let edge = -Infinity;
    for (const mark of marks) {
      const x = plot.x(mark.x / across.scale), y = plot.y(mark.y), on = mark === mine;
      const dot = make("circle", { class: on ? "mark on" : "mark", cx: x, cy: y, r: on ? 7 : 5 });
      dot.append(make("title", {}, mark.name));
      dot.addEventListener("click", () => select(mark.member));
      plot.svg.append(dot);
      const label = make("text", { class: "mark-name", x: x - 9, y: y - 9, "text-anchor": "end" }, mark.name);
      if (x - plot.left < 60) [["x", x + 9], ["y", y + 17], ["text-anchor", "start"]].forEach(([k, v]) => label.setAttribute(k, v));
      if (on || x - edge > 46) plot.svg.append(label);
      edge = x;
    }
  }

  function drawConvergence() {
    const box = document.getElementById("convergence"), { history, bound } = data.members[selected];
    if (!box) return;
    if (!history.length) {
      const note = document.createElement("p");
      note.className = "empty";
      note.textContent = "No history of this network.";
      box.replaceChildren(note);
      return;
    }
    const ys = history.map((p) => p[1]).concat(bound === null ? [] : [bound]);
    const x0 = Math.max(history[0][0], 1), last = history[history.length - 1];
    const plot = axes(box, {
      x: [x0, Math.max(last[0], x0 * 2)], y: padded(Math.min(...ys), Math.max(...ys)), log: true,
      xName: "candidates (log scale) \u2192", yName: "best score",
    });
    const points = history.map(([evaluations, score]) => [plot.x(Math.max(evaluations, 1)), plot.y(score)]);
    if (bound !== null) {
      const y = plot.y(bound);
      plot.svg.append(make("line", { class: "bound", x1: plot.left, x2: plot.width - plot.right, y1: y, y2: y }));
      plot.svg.append(make("text", { class: "bound-name", x: plot.width - plot.right, y: y - 7, "text-anchor": "end" }, "certified bound " + number(bound, 2)));
    }
    // between generations the best so far stands
    const path = points.map(([x, y], i) => (i ? "H" + x.toFixed(1) + "V" + y.toFixed(1) : "M" + x.toFixed(1) + " " + y.toFixed(1))).join("");
    plot.svg.append(make("path", { class: "curve", d: path }));
    const [endX, endY] = points[points.length - 1];
    plot.svg.append(make("circle", { class: "end", cx: endX, cy: endY, r: 3.5 }));
    hover(box, plot, points, (at) => {
      const rows = [["candidates", number(history[at][0], 0)], ["best score", number(history[at][1], 2)]];
      if (bound !== null) rows.push(["below the bound", number(Math.max(0, 100 * (1 - history[at][1] / bound)), 3) + " %"]);
      return rows;
    });
  }

  function select(index) {
    selected = index;
    for (const part of document.querySelectorAll("[data-of]")) part.hidden = Number(part.dataset.of) !== index;
    for (const button of document.querySelectorAll("[data-member]")) {
      button.setAttribute("aria-pressed", String(Number(button.dataset.member) === index));
    }
    drawFront();
    drawConvergence();
  }

  function copied(button, done) {
    button.textContent = done ? "Copied" : "Select it";
    setTimeout(() => { button.textContent = "Copy"; }, 1600);
  }

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
  for (const button of document.querySelectorAll("[data-member]")) {
    button.addEventListener("click", () => select(Number(button.dataset.member)));
  }
  let width = 0;
  new ResizeObserver(() => {
    if (document.body.clientWidth === width) return;
    width = document.body.clientWidth;
    drawFront();
    drawConvergence();
  }).observe(document.body);
  select(0);
})();
