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
  const slider = document.getElementById("threshold");
  const percent = (scores, limit) =>
    (100 * scores.filter((score) => score >= limit).length / Math.max(1, scores.length)).toFixed(1) + " %";
  slider?.addEventListener("input", async () => {
    const limit = Number(slider.value);
    document.getElementById("threshold-value").textContent = limit.toFixed(2);
    document.getElementById("attack-said").replaceChildren(...data.names.map((name, number) =>
      make("p", name + ": " + percent(data.members[number], limit) + " of the forgotten pairs are called members, and "
        + percent(data.neverSeen[number], limit) + " of the pairs never seen.")));
    for (const view of await window.charts) {
      if ("threshold" in view.getState().signals) view.signal("threshold", limit).runAsync();
    }
  });

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
