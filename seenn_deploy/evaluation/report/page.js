// The report's page: everything is drawn from the values embedded in it, and nothing is loaded.
"use strict";
(() => {
  const values = JSON.parse(document.getElementById("values").textContent);
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const run = values.run, about = values.program;
  const $ = (id) => document.getElementById(id);
  const chosen = (id, otherwise) => ($(id) ? $(id).value : otherwise);
  const model = () => chosen("model", "paper");

  // As the figure filter of page.py writes them.
  const figure = (x, digits = 4) => {
    if (x === null || x === undefined) return "unknown";
    if (typeof x !== "number") return String(x);
    if (Number.isInteger(x) || Math.abs(x) >= 10 ** digits) return Math.round(x).toLocaleString("en-US");
    return String(Number(x.toPrecision(digits)));
  };
  const element = (tag, text, attributes = {}) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;  // text, so that no name becomes markup
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  };
  const fill = (parent, children) => parent.replaceChildren(...children);
  const row = (cells, head) => {
    const made = element("tr");
    cells.forEach((cell, i) => made.append(element(head || i === 0 ? "th" : "td", cell, i === 0 && !head ? { scope: "row" } : head ? { scope: "col" } : {})));
    return made;
  };

  // --- figures ------------------------------------------------------------------------------

  const interval = (parts, factor = 1) => parts && `${figure(factor * parts[1])} to ${figure(factor * parts[2])}`;
  function cards() {
    const told = run.summary[model()], around = run.intervals;
    const energy = around.energy_uJ[model()];
    const whole = told.total_energy_uJ_per_sample;
    const made = [
      ["accuracy", told.accuracy === null ? "no labels" : `${figure(100 * told.accuracy)} %`, interval(around.accuracy, 100)],
      ["mean exit step", `${figure(told.mean_exit_step)} of ${run.timesteps}`, interval(around.mean_exit_step)],
      [whole === null ? "energy per sample, at least" : "energy per sample", `${figure(whole === null ? told.energy_uJ_per_sample : whole)} uJ`, interval(energy)],
      ["latency", `${figure(around.latency_steps[0])} steps`, interval(around.latency_steps)],
      ["samples", figure(told.samples), ""],
    ];
    if (told.dense_ann_energy_uJ !== null && whole) made.push(["dense ANN over this network", `${figure(told.dense_ann_energy_uJ / whole, 3)} times`, "energy of one pass of the same layers"]);
    fill($("cards"), made.map(([name, value, around]) => {
      const card = element("div");
      card.append(element("dt", name), element("dd", value));
      if (around) card.append(element("dd", around.includes(" to ") ? `95 %: ${around}` : around, { class: "interval" }));
      return card;
    }));
  }

  function schedules() {
    const rows = Object.entries(run.schedules[model()]).map(([name, told]) =>
      row(told === null ? [name, "the exit rule does not allow it", "", "", ""]
        : [name, figure(told.total_energy_uJ_per_sample), figure(told.wasted_energy_uJ_per_sample), figure(told.latency_steps), figure(told.initiation_interval_steps)]));
    fill($("schedule-table").tBodies[0], rows);
  }

  // --- the layer table ----------------------------------------------------------------------

  const described = new Map((about ? about.layers : []).map((layer) => [layer.name, layer]));
  const counted = new Map((run ? run.layers : []).map((layer) => [layer.layer, layer]));
  const names = run ? run.layers.map((layer) => layer.layer) : about ? about.layers.map((layer) => layer.name) : [];
  const SHORT = { spikes_per_sample: "spikes", ac_per_sample: "AC", mac_per_sample: "MAC", graded_per_sample: "graded" };
  function layerRows() {
    return names.map((name) => {
      const layer = described.get(name), counts = counted.get(name);
      const found = { layer: name };
      if (layer) Object.assign(found, { kind: layer.kind, shape: layer.shape_out.join("x"), neurons: layer.neurons, synapses: layer.synapses, dense_macs: layer.dense_macs });
      if (counts) {
        found[`energy_uJ_${model()}`] = counts.energy_uJ[model()];
        found.rate = counts.rate;
        for (const [key, value] of Object.entries(counts)) if (key.endsWith("_per_sample")) found[key] = value;
      }
      return found;
    });
  }
  const sorted = { by: "", down: false };
  function layerTable() {
    const table = $("layer-table"), wanted = $("filter").value.toLowerCase();
    // The file has every column; the table leaves out counts of neurons and what is 0 everywhere.
    const hidden = new Set(["updates_active_per_sample", "resets_per_sample", "dense_macs"]);
    let rows = layerRows();
    const told = (name) => !name.endsWith("_per_sample") || rows.some((r) => r[name]);
    const columns = Object.keys(rows[0] || { layer: "" }).filter((name) => !hidden.has(name) && told(name));
    const head = element("tr");
    for (const name of columns) {
      const cell = element("th", undefined, { scope: "col", "aria-sort": sorted.by === name ? (sorted.down ? "descending" : "ascending") : "none" });
      const button = element("button", SHORT[name] || name.replace("_per_sample", "").replace("energy_uJ_", "uJ, ").replace(/_/g, " "), { type: "button" });
      button.addEventListener("click", () => {
        Object.assign(sorted, { down: sorted.by === name ? !sorted.down : typeof rows[0][name] === "number", by: name });
        layerTable();
        table.tHead.querySelectorAll("button")[columns.indexOf(name)].focus();
      });
      cell.append(button);
      head.append(cell);
    }
    fill(table.tHead, [head]);
    if (sorted.by) {
      rows = [...rows].sort((a, b) => (a[sorted.by] > b[sorted.by] ? 1 : a[sorted.by] < b[sorted.by] ? -1 : 0));
      if (sorted.down) rows.reverse();
    }
    rows = rows.filter((r) => `${r.layer} ${r.kind || ""}`.toLowerCase().includes(wanted));
    fill(table.tBodies[0], rows.map((r) => row(columns.map((name) => (r[name] === null ? "" : figure(r[name]))))));
  }

  // --- charts -------------------------------------------------------------------------------

  function draw(name, rows, lines, where = name) {
    const place = $(`chart-${where}`);
    if (!place) return Promise.resolve(null);
    // The page's own colours, so that charts follow it to the dark and onto paper.
    const ink = "currentColor", faint = 0.25;
    const specification = structuredClone(charts[name]);
    specification.datasets = rows;
    specification.background = "transparent";
    specification.autosize = { type: "fit-x", contains: "padding" };
    specification.config = {
      font: "system-ui, sans-serif", view: { stroke: null }, text: { color: ink },
      axis: { labelColor: ink, titleColor: ink, gridColor: ink, gridOpacity: faint, domainColor: ink, tickColor: ink, tickOpacity: faint, domainOpacity: faint },
      legend: { labelColor: ink, titleColor: ink },
    };
    if (lines) specification.height = specification.usermeta.row * lines;
    // An interpreter of Vega's expressions instead of eval, which the page's policy forbids.
    return vegaEmbed(place, specification, { actions: false, renderer: "svg", ast: true })
      .then((made) => { (window.drawn = window.drawn || {})[where] = made.view; return made.view; })
      .catch((error) => { place.textContent = `This chart could not be drawn: ${error.message}`; });
  }

  function graph() {
    if (!about) return;
    const order = [about.input.name, ...about.layers.map((layer) => layer.name)];
    const at = new Map(order.map((name, i) => [name, i]));
    const what = chosen("node-value", "");
    const nodes = order.map((name) => {
      const layer = described.get(name), counts = counted.get(name);
      let value = counts ? (what === "energy_uJ" ? counts.energy_uJ[model()] : counts[what]) : layer ? layer.synapses : 0;
      if (value === null || value === undefined) value = 0;
      const shape = layer ? layer.shape_out.join("x") : about.input.shape.join("x");
      return { layer: name, kind: layer ? layer.kind : "input", label: `${name}  ${shape}`, value, x: 0, y: at.get(name) };
    });
    const arcs = about.edges.flatMap(([pre, post], i) => {
      const from = at.get(pre), to = at.get(post), reach = Math.abs(to - from);
      // What leads on to the next layer is straight; the further an edge reaches, the wider its arc.
      const out = reach === 1 ? 0 : -Math.min(2.8, 0.5 + 0.35 * reach);
      return [[0, from], [out, from + (to - from) / 4], [out, to - (to - from) / 4], [0, to]].map(([x, y], order) => ({ arc: i, order, x, y }));
    });
    draw("graph", { nodes, arcs }, nodes.length);
  }

  function heatMap() {
    const what = chosen("step-value", "spikes");
    draw("heat_map", { steps: run.steps.map((s) => ({ layer: s.layer, t: s.t, value: what === "energy_uJ" ? s.energy_uJ[model()] : s[what] })) }, names.length);
  }

  function exits() {
    const s = run.samples, whole = s.exit_step.length === run.samples_total;
    const rows = [];
    const histogram = run.summary[model()].exit_histogram;
    for (const [t, n] of Object.entries(histogram)) {
      if (!s.label || !whole) { rows.push({ t: Number(t), samples: n, what: "all" }); continue; }
      const here = s.exit_step.map((e, i) => [e, s.prediction[i] === s.label[i]]).filter(([e]) => e === Number(t));
      const right = here.filter(([, ok]) => ok).length;
      rows.push({ t: Number(t), samples: right, what: "right" }, { t: Number(t), samples: here.length - right, what: "wrong" });
    }
    draw("exits", { exits: rows });
  }

  function front() {
    if (!run.front.fixed) return;
    const points = Object.entries(run.front).flatMap(([rule, curve]) => curve.threshold.map((threshold, i) => ({
      rule: rule === "fixed" ? "fixed t" : rule, threshold, accuracy: 100 * curve.accuracy[i], steps: curve.mean_exit_step[i], cost: curve.energy_uJ[model()][i],
    })));
    const told = run.summary[model()];
    const here = [{ rule: "this run", threshold: null, accuracy: 100 * told.accuracy, steps: told.mean_exit_step, cost: told.energy_uJ_per_sample }];
    draw("front", { points, here }).then((view) => view && view.addEventListener("click", (_, item) => {
      if (item && item.datum && item.datum.rule === "confidence") setAlpha(item.datum.threshold);
    }));
  }

  function costModels() {
    const models = run.costs.cost_models;
    const rows = models.flatMap((told) => [
      ["this network", told.total_energy_uJ_per_sample === null ? told.useful_energy_uJ_per_sample : told.total_energy_uJ_per_sample], ["dense ANN", told.dense_ann_energy_uJ],
      ["quantised ANN", told.quantized_ann_energy_uJ], ["policy alone", told.policy_energy_uJ_per_sample],
    ].filter(([, energy]) => energy !== null && energy > 0).map(([what, energy]) => ({ model: told.name, what, energy })));
    draw("cost_models", { costs: rows }, models.length);
  }

  function comparison() {
    const found = values.comparison, other = values.other;
    if (!found) return;
    const [a, b] = values.names, first = run.summary[model()], second = other.summary[model()];
    const line = (name, x, y, change, factor = 1) => row([name, figure(x), figure(y), change ? figure(factor * change[0]) : "", change ? interval(change, factor) : ""]);
    const percent = (told) => (told.accuracy === null ? null : 100 * told.accuracy);
    fill($("changes-table").tBodies[0], [
      line("accuracy (%)", percent(first), percent(second), found.changes.accuracy, 100),
      line("mean exit step", first.mean_exit_step, second.mean_exit_step, found.changes.mean_exit_step),
      line("energy (uJ)", run.intervals.energy_uJ[model()][0], other.intervals.energy_uJ[model()][0], found.changes.energy_uJ[model()]),
      line("latency (steps)", run.intervals.latency_steps[0], other.intervals.latency_steps[0], found.changes.latency_steps),
    ]);
    draw("changes", { changes: found.layers.flatMap((layer) => [[a, layer.before_uJ], [b, layer.after_uJ]].filter(([, e]) => e).map(([name, e]) => ({ layer: layer.layer, run: name, energy: e[model()] }))) }, found.layers.length);
  }

  function chip() {
    if (!values.chip) return;
    const cores = values.chip.cores_of_first_chip, what = chosen("core-value", "full");
    draw("chip", { cores: cores.map((core) => ({ ...core, value: core[what] })) }, new Set(cores.map((core) => core.y)).size);
  }

  function devices() {
    values.devices.filter((device) => device.layers).forEach((device, i) => {
      const rows = device.layers.flatMap((l) => [["equal", l.compared - l.mismatching], ["ties", l.ties], ["consequences", l.consequences], ["mismatches", l.mismatches]]
        .map(([what, n]) => ({ layer: l.name, what, n })));
      draw("verified", { spikes: rows }, device.layers.length, `verified-${i}`);
    });
  }

  // --- samples at a chosen threshold ----------------------------------------------------------

  const named = (label) => (values.class_names[label] !== undefined ? values.class_names[label] : `class ${label}`);
  const setAlpha = (threshold) => { $("alpha").value = Math.round(1000 * threshold); pictures(); };
  function pictures() {
    const s = run.samples;
    if (!s.confidence_by_step) return;
    const alpha = Number($("alpha").value) / 1000, T = run.timesteps;
    const leave = s.confidence_by_step.map((c) => { const t = c.findIndex((x, i) => x > alpha || i === T - 1); return t; });
    const answer = leave.map((t, i) => s.prediction_by_step[i][t]);
    const mean = leave.reduce((sum, t) => sum + t + 1, 0) / leave.length;
    const right = s.label ? answer.filter((y, i) => y === s.label[i]).length / answer.length : null;
    $("alpha-value").textContent = alpha.toFixed(3);
    $("alpha-figures").textContent = `${figure(leave.length)} samples: ${right === null ? "" : `${figure(100 * right)} % right, `}${figure(mean)} timesteps on average.`;
    const shown = (wanted) => {
      const all = leave.map((t, i) => i).filter(wanted);
      const some = all.filter((i) => values.thumbnails[i]).slice(0, 24);
      const items = some.map((i) => {
        const item = element("li");
        item.append(element("img", undefined, { src: values.thumbnails[i], alt: `sample ${i}` }));
        item.append(element("span", `${i}: ${named(answer[i])}${s.label && answer[i] !== s.label[i] ? `, is ${named(s.label[i])}` : ""}, t = ${leave[i] + 1}`));
        return item;
      });
      const note = some.length ? "" : Object.keys(values.thumbnails).length ? "none with a picture" : "pictures need the images: --data";
      items.push(element("li", `${figure(all.length)} in all${note ? `; ${note}` : ""}`, { class: "none" }));
      return items;
    };
    fill($("early-wrong"), shown((i) => leave[i] < T - 1 && s.label && answer[i] !== s.label[i]));
    fill($("late"), shown((i) => leave[i] === T - 1));
  }

  // --- downloads ----------------------------------------------------------------------------

  const cell = (x) => {
    const text = x === null || x === undefined ? "" : String(x);
    return /[",\n\r]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
  };
  const csv = (rows) => [Object.keys(rows[0]), ...rows.map(Object.values)].map((r) => r.map(cell).join(",")).join("\n") + "\n";
  const files = {
    "report.json": () => JSON.stringify(values, null, 1),
    "layers.csv": () => csv(layerRows()),
    "steps.csv": () => csv(run.steps.map(({ energy_uJ, ...rest }) => ({ ...rest, [`energy_uJ_${model()}`]: energy_uJ[model()] }))),
    "samples.csv": () => csv(run.samples.exit_step.map((exit, i) => ({
      sample: i, prediction: run.samples.prediction[i], ...(run.samples.label ? { label: run.samples.label[i] } : {}), exit_step: exit, confidence: run.samples.confidence[i],
    }))),
  };
  document.querySelectorAll(".download").forEach((button) => button.addEventListener("click", () => {
    const name = button.dataset.file, kind = name.endsWith(".json") ? "application/json" : "text/csv";
    const link = element("a", undefined, { href: URL.createObjectURL(new Blob([files[name]()], { type: kind })), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }));

  // --- all of it ------------------------------------------------------------------------------

  function all() {
    layerTable();
    graph();
    chip();
    devices();
    if (!run) return;
    cards(); schedules(); heatMap(); exits(); front(); costModels(); comparison();
  }
  const on = (id, event, does) => $(id) && $(id).addEventListener(event, does);
  on("model", "change", all);
  on("node-value", "change", graph);
  on("step-value", "change", heatMap);
  on("core-value", "change", chip);
  on("filter", "input", layerTable);
  on("alpha", "input", pictures);
  all();
  if (run && $("alpha")) pictures();
})();
