(() => {
  const { data, make, number, padded, axes, hover, start } = page;
  let selected = 0;

  function shown(column, value) {
    return number(value / column.scale, column.digits) + (column.unit ? " " + column.unit : "");
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

  for (const button of document.querySelectorAll("[data-member]")) {
    button.addEventListener("click", () => select(Number(button.dataset.member)));
  }
  start(() => {
    select(selected);
    ranking.draw();
  });
})();
