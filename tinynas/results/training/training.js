(() => {
  const { data, make, number, axes, hover, start } = page;

  // Enough digits to tell values of that size apart.
  function shown(value) {
    if (value === 0 || Math.abs(value) >= 0.1) return number(value, 3);
    return value.toPrecision(3);
  }

  // One line per series over a common x; gaps are bridged, a lone point is a dot.
  function lines(id, spec) {
    const box = document.getElementById(id), chart = data[id];
    if (!box || !chart || !chart.series.length) return;
    const { x, series } = chart;
    const known = series.flatMap((one) => one.values).filter((value) => value !== null);
    const range = spec.y || [0, Math.max(...known) * 1.06 || 1];
    const first = spec.x ? spec.x[0] : x[0], last = spec.x ? spec.x[1] : Math.max(x[x.length - 1], x[0] + 1);
    const plot = axes(box, { x: [first, last], y: range, xName: spec.xName, yName: spec.yName });
    for (const one of series) {
      const points = x.map((at, i) => [at, one.values[i]]).filter(([, value]) => value !== null).map(([at, value]) => [plot.x(at), plot.y(value)]);
      const path = make("path", { class: "curve", d: points.map(([px, py], i) => (i ? "L" : "M") + px.toFixed(1) + " " + py.toFixed(1)).join("") });
      path.style.stroke = one.colour;
      plot.svg.append(path);
      for (const [cx, cy] of points.length < 3 ? points : []) {
        const dot = make("circle", { cx, cy, r: 3.5 });
        dot.style.fill = one.colour;
        plot.svg.append(dot);
      }
    }
    const places = x.map((_, i) => i).filter((i) => series.some((one) => one.values[i] !== null));
    const top = (i) => Math.max(...series.map((one) => one.values[i]).filter((value) => value !== null));
    hover(box, plot, places.map((i) => [plot.x(x[i]), plot.y(top(i))]), (at) => {
      const rows = series.filter((one) => one.values[places[at]] !== null).map((one) => [one.name, shown(one.values[places[at]])]);
      return [[spec.step, number(x[places[at]], spec.digits || 0)], ...rows];
    });
    if (series.length > 1 || spec.named) legend(box, series);
  }

  function legend(box, series) {
    const old = box.parentElement.querySelector(".key");
    if (old) return;
    const list = document.createElement("ul");
    list.className = "key states";
    for (const one of series) {
      const item = document.createElement("li"), mark = document.createElement("i");
      mark.style.background = one.colour;
      item.append(mark, one.name);
      list.append(item);
    }
    box.after(list);
  }

  start(() => {
    const byEpoch = { xName: "epoch \u2192", step: "epoch" };
    lines("losses", { ...byEpoch, yName: "loss" });
    lines("ap", { ...byEpoch, yName: "AP" });
    lines("rate", { ...byEpoch, yName: "learning rate" });
    lines("pr", { x: [0, 1], y: [0, 1], xName: "recall \u2192", yName: "precision", step: "recall", digits: 2, named: true });
  });
})();
