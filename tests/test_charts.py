"""Charts: specifications that Vega-Lite accepts, in the style sheet's colours; the same data give the same bytes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree

import altair as alt
import numpy as np
import pytest

from expunge.evaluation.metrics import read_metrics
from expunge.report.attack import attack
from expunge.report.charts import HOVER, SVG, Figure, in_script
from expunge.report.figures import figures_of
from expunge.report.panels import histogram
from expunge.steps.report import report
from fake_release import make_project, params_of
from project import ROOT


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> list[Figure]:
    paths = make_project(tmp_path_factory.mktemp("figures"))
    return [
        figure
        for name in ("base", "r001")
        for figure in figures_of(paths, name, read_metrics(paths.release(name).metrics))
    ]


def test_every_specification_is_what_the_schema_of_vega_lite_asks_for(figures: list[Figure]) -> None:
    panels = [panel for figure in figures for panel in figure.panels]
    assert len(panels) == 11
    for panel in panels:
        alt.Chart.from_dict(panel.specification, validate=True)


def test_colours_are_variables_that_the_style_sheet_has_so_that_dark_and_paper_need_no_second_drawing(
    figures: list[Figure],
) -> None:
    sheet = (files("expunge.report") / "charts.css").read_text(encoding="utf-8")
    known = {f"var({name})" for name in re.findall(r"(--[\w-]+):", sheet)}
    for figure in figures:
        for panel in figure.panels:
            used = {element.get(name) for element in panel.drawing.iter() for name in ("fill", "stroke")}
            assert used - {None, "none", "transparent"} <= known, figure.name
            assert len(used & known) > 1, figure.name


def test_what_the_live_chart_alone_needs_is_not_in_the_drawing(figures: list[Figure]) -> None:
    attacks = next(figure for figure in figures if figure.name == "attacks")
    for panel in attacks.panels:
        assert any(layer.get("name") == HOVER for layer in panel.specification["layer"])
        paths = [element for element in panel.drawing.iter(f"{SVG}path") if element.get("opacity") == "0"]
        assert paths == []


def test_marks_of_a_drawing_say_their_figures(figures: list[Figure]) -> None:
    told = {
        figure.name: {one.text for one in ElementTree.fromstring(figure.file).iter(f"{SVG}title")} for figure in figures
    }
    assert "expected of pairs never seen: 0.42" in told["similarities"]
    assert any(re.fullmatch(r"0\.\d\d → 0\.\d\d", text or "") for text in told["neighbours"])
    assert any("forgetting 0.0" in (text or "") for text in told["tradeoff"])


def test_a_histogram_says_the_share_of_each_bin() -> None:
    values = {"one": np.array([0.1, 0.2, 0.9, 0.9])}
    panel = histogram("Histogram.", "x", {"one": "unlearned"}, values, np.linspace(0, 1, 3))
    (data,) = (rows for rows in panel.specification["datasets"].values() if len(rows) == 3)
    assert [(row["from"], row["share"]) for row in data] == [(0, 0.5), (0.5, 0.5), (1, 0.5)]


def test_no_text_of_the_data_ends_a_script() -> None:
    assert "</script" not in in_script({"name": "</script><script>alert(1)"})


def test_the_threshold_that_is_shown_first_catches_what_the_sentences_say() -> None:
    class Two:
        names = ("a", "b")
        members = (np.array([3.0, 4.0]), np.array([0.0, 4.0]))
        never_seen = (np.array([0.0, 1.0, 3.0, 0.0]), np.array([0.0, 0.0, 0.0, 0.0]))

    found = attack(Two)
    assert found.start == pytest.approx(2.0, abs=0.01)
    assert found.said == [
        "a: 100.0 % of the forgotten pairs are called members, and 25.0 % of the pairs never seen.",
        "b: 50.0 % of the forgotten pairs are called members, and 0.0 % of the pairs never seen.",
    ]
    assert found.figure.rows[0] == ["1%", "50.0%", "50.0%"]


def made_elsewhere(root: Path, code: str) -> str:
    """What `code` prints in a process of its own, with other hashes of texts than here."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PYTHONHASHSEED": "7"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_another_process_writes_the_same_report_and_loads_no_torch_for_it(tmp_path: Path) -> None:
    paths = make_project(tmp_path)
    code = (
        "import sys; from pathlib import Path; from expunge.project.paths import Paths\n"
        "from expunge.steps.report import report; from fake_release import params_of\n"
        "report(Paths(Path.cwd()), params_of(Path.cwd()), 'r001'); print('torch' in sys.modules)"
    )
    assert made_elsewhere(tmp_path, code).splitlines()[-1] == "False"
    written = [paths.release("r001").page, *sorted(paths.release("r001").figures.iterdir())]
    before = [path.read_bytes() for path in written]
    report(paths, params_of(tmp_path), "r001")
    assert [path.read_bytes() for path in written] == before
