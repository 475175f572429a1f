const ranking = (() => {
  const { data, make, number, padded, axes, hover } = page;

  function path(points) {
    return points.map(([x, y], i) => (i ? "L" : "M") + x.toFixed(1) + " " + y.toFixed(1)).join("");
  }

  function drawCurves() {
    const box = document.getElementById("curves");
    if (!box || !data.ranking) return;
    const { lines, ends } = data.ranking, all = lines.flatMap((line) => line.points);
    if (!all.length) return;
    const most = Math.max(...all.map((p) => p[0])), ys = all.map((p) => p[1]);
    const plot = axes(box, {
      x: [0, most * 1.04], y: padded(0, Math.max(...ys, 1)), xName: "optimiser steps \u2192", yName: "AP on val, %",
    });
    for (const end of ends) {
      const x = plot.x(end);
      plot.svg.append(make("line", { class: "limit", x1: x, x2: x, y1: plot.top, y2: plot.height - plot.bottom }));
    }
    const shown = [];
    for (const kind of ["other", "first", "choice"]) {
      for (const line of lines.filter((one) => one.kind === kind && one.points.length)) {
        const points = line.points.map(([steps, ap]) => [plot.x(steps), plot.y(ap)]);
        plot.svg.append(make("path", { class: "curve " + kind, d: path(points) }));
        points.forEach(([cx, cy], at) => {
          plot.svg.append(make("circle", { class: "dot " + kind, cx, cy, r: kind === "other" ? 2.5 : 3.5 }));
          shown.push([cx, cy, line, line.points[at]]);
        });
      }
    }
    shown.sort((one, other) => one[0] - other[0] || one[1] - other[1]);
    hover(box, plot, shown.map(([x, y]) => [x, y]), (at) => {
      const [, , line, [steps, ap]] = shown[at];
      return [["candidate", line.name], ["steps", number(steps, 0)], ["AP", number(ap, 1) + " %"]];
    });
  }

  function drawRanks() {
    const box = document.getElementById("ranks");
    if (!box || !data.ranking) return;
    const { lines } = data.ranking, count = lines.length;
    // the first rank is at the top and on the left
    const plot = axes(box, {
      x: [0.4, count + 0.6], y: [count + 0.6, 0.4], xName: "rank by score \u2192", yName: "rank by AP", ranks: count,
    });
    plot.svg.append(make("path", { class: "limit", fill: "none", d: path([[plot.x(1), plot.y(1)], [plot.x(count), plot.y(count)]]) }));
    for (const line of lines) {
      const cx = plot.x(line.by_score), cy = plot.y(line.by_ap), left = cx > plot.width - 90;
      plot.svg.append(make("circle", { class: "dot " + line.kind, cx, cy, r: 5 }));
      plot.svg.append(make("text", { class: "mark-name", x: cx + (left ? -9 : 9), y: cy + 4, "text-anchor": left ? "end" : "start" }, line.name));
    }
    hover(box, plot, lines.map((line) => [plot.x(line.by_score), plot.y(line.by_ap)]), (at) => [
      ["candidate", lines[at].name], ["score", number(lines[at].score, 1)],
      ["rank by score", number(lines[at].by_score, 0)], ["rank by AP", number(lines[at].by_ap, 0)],
    ]);
  }

  return { draw() { drawCurves(); drawRanks(); } };
})();
