// Charts come alive where scripts may run; elsewhere their drawing stays.
window.charts = Promise.all([...document.querySelectorAll(".panel > script")].map(async (data) => {
  const still = data.previousElementSibling, place = document.createElement("div");
  const { view } = await vegaEmbed(place, JSON.parse(data.textContent), {
    actions: false, ast: true, defaultStyle: false, renderer: "svg", tooltip: { disableDefaultStyle: true },
  });
  still.replaceWith(place);
  return view;
}));
