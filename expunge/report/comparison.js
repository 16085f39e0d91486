"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const data = read("data"), pictures = read("pictures");
  const byId = new Map(data.samples.map((one) => [one.id, one]));
  const make = (tag, text, ...children) => {
    const element = document.createElement(tag);
    if (text !== null) element.textContent = text;
    element.append(...children);
    return element;
  };
  const image = (id) => {
    if (!pictures[id]) return [];
    const picture = make("img", null);
    Object.assign(picture, { src: pictures[id], alt: "", width: 44, height: 44 });
    return [picture];
  };

  // Search, side by side.
  const query = document.getElementById("query");
  const show = () => {
    const wanted = query.value.trim().toLowerCase();
    const found = data.queries.find((one) => one.text.toLowerCase() === wanted)
      || (wanted && data.queries.find((one) => one.text.toLowerCase().includes(wanted)));
    const said = document.getElementById("query-said");
    if (!found) {
      said.textContent = "This page has no results for that text; it knows " + data.queries.length + " queries.";
      return;
    }
    said.textContent = "Results for “" + found.text + "”.";
    const sides = found.found.map((side, number) => make("div", null, make("h3", data.names[number]),
      make("ol", null, ...side.map(([id, score]) => make("li", null, ...image(id),
        make("span", (byId.get(id) || {}).caption || id, make("small", score.toFixed(2))))))));
    document.getElementById("results").replaceChildren(...sides);
  };
  query.addEventListener("input", show);
  query.addEventListener("focus", () => query.select());
  show();

  // The attacker's threshold.
  const every = [...data.members.flat(), ...data.neverSeen.flat()];
  const low = Math.min(...every), high = Math.max(...every);
  const slider = document.getElementById("threshold");
  const share = (scores, limit) => scores.filter((score) => score >= limit).length / Math.max(1, scores.length);
  const percent = (value) => (100 * value).toFixed(1) + " %";
  const bins = 24;
  const histogram = (scores) => {
    const counts = new Array(bins).fill(0);
    for (const score of scores) counts[Math.min(bins - 1, Math.floor(((score - low) / (high - low || 1)) * bins))] += 1;
    return counts.map((count) => count / Math.max(1, scores.length));
  };
  const svg = (tag, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };
  const lines = [0, 1].map((number) => {
    const members = histogram(data.members[number]), others = histogram(data.neverSeen[number]);
    const top = Math.max(...members, ...others, 0.01);
    const drawing = svg("svg", { viewBox: "0 0 420 200", role: "img",
      "aria-label": "Attack scores on " + data.names[number] + ": forgotten pairs and pairs never seen" });
    const x = (value) => 20 + (value / bins) * 380, y = (value) => 170 - (value / top) * 130;
    const label = (text, at, anchor) => {
      const element = svg("text", { x: at, y: 16, class: "ink", "text-anchor": anchor });
      element.textContent = text;
      drawing.append(element);
    };
    label(data.names[number], 20, "start");
    label("bars: forgotten · dashed: never seen", 400, "end");
    members.forEach((value, bin) => drawing.append(svg("rect", { class: "bar unlearned", x: x(bin) + 1, y: y(value),
      width: 380 / bins - 2, height: 170 - y(value) })));
    const outline = others.map((value, bin) => x(bin) + "," + y(value) + " " + x(bin + 1) + "," + y(value)).join(" ");
    drawing.append(svg("polyline", { class: "line retrained", points: outline }));
    drawing.append(svg("line", { class: "axis", x1: 20, x2: 400, y1: 170, y2: 170 }));
    const line = svg("line", { class: "axis", y1: 24, y2: 178, "stroke-width": 2 });
    drawing.append(line);
    document.getElementById("attack-" + number).append(drawing);
    return line;
  });
  const move = () => {
    const place = slider.value / 1000, limit = low + place * (high - low);
    document.getElementById("threshold-value").textContent = limit.toFixed(2);
    for (const line of lines) {
      line.setAttribute("x1", 20 + place * 380);
      line.setAttribute("x2", 20 + place * 380);
    }
    document.getElementById("attack-said").replaceChildren(...data.names.map((name, number) =>
      make("p", name + ": " + percent(share(data.members[number], limit)) + " of the forgotten pairs are called members, and "
        + percent(share(data.neverSeen[number], limit)) + " of the pairs never seen.")));
  };
  slider.addEventListener("input", move);
  move();

  // Columns that sort.
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
    heads.forEach((head, column) => {
      const button = make("button", head.textContent);
      button.type = "button";
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const key = (row) => row.cells[column].textContent;
        const rows = [...body.rows].sort((a, b) => {
          const one = Number.parseFloat(key(a)), two = Number.parseFloat(key(b));
          const order = column && !Number.isNaN(one - two) ? one - two : key(a).localeCompare(key(b));
          return up ? order : -order;
        });
        body.append(...rows);
      });
      head.replaceChildren(button);
    });
  }

  // Samples by words.
  const filter = document.getElementById("filter"), most = 40;
  filter.addEventListener("input", () => {
    const words = filter.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const said = document.getElementById("filter-said"), place = document.getElementById("filtered");
    if (!words.length) {
      said.textContent = "";
      place.replaceChildren();
      return;
    }
    const found = data.samples.filter((one) => {
      const text = (one.caption + " " + one.class + " " + one.id).toLowerCase();
      return words.every((word) => text.includes(word));
    });
    said.textContent = found.length + " samples" + (found.length > most ? "; the " + most + " most changed are shown." : ".");
    const head = make("tr", null, ...["Sample", data.names[0], data.names[1], "Change"].map((name) => {
      const cell = make("th", name);
      cell.scope = "col";
      return cell;
    }));
    const rows = found.slice(0, most).map((one) => {
      const name = make("th", null, make("span", null, ...image(one.id), one.caption + " (" + one.class + ")"));
      name.scope = "row";
      const change = one.s[1] - one.s[0];
      return make("tr", null, name, make("td", one.s[0].toFixed(2)), make("td", one.s[1].toFixed(2)),
        make("td", (change > 0 ? "+" : "") + change.toFixed(2)));
    });
    place.replaceChildren(make("table", null, make("thead", null, head), make("tbody", null, ...rows)));
  });
})();
