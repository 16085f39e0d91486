"""A source and a method are added as docs/extending.md says, and nothing else has to be edited."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
import yaml

from project import ROOT, run, tiny_params, write_params

SOURCE = '''
"""Two colours."""

import io

from PIL import Image

from expunge.corpus.sample import Caption, Sample, Source


def open_source(params):
    return Source("colours", version="1", license="CC0-1.0", credit="nobody", samples=_samples(params))


def _samples(params):
    for number in range(160):
        stream = io.BytesIO()
        Image.new("RGB", (params.image_size,) * 2, (4 * number, 255 - 4 * number, 40)).save(stream, "PNG")
        yield Sample(
            sample_id=f"colours:{number}",
            class_="even" if number % 2 else "odd",
            superclass="colours",
            subject_id=None,
            concept=f"colours:{number}",
            variant=None,
            split="train",
            captions=(Caption("en", f"colour number {number}"),),
            image=stream.getvalue(),
        )
'''
METHOD = '''
"""Push forgotten pairs apart."""

from typing import Annotated

from pydantic import Field
from torch import Tensor

from expunge.unlearning.method import Batch, Descent
from expunge.unlearning.settings import LoopParams


class PushParams(LoopParams):
    """How hard to push."""

    weight: Annotated[float, Field(gt=0)] = 1.0


class Push(Descent):
    """Push forgotten pairs apart (Someone et al. 2027, equation 4)."""

    params: PushParams

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Similarity of forgotten pairs, and the retention term of all methods."""
        return {
            "forgetting": self.params.weight * batch.forget.similarities.mean(),
            "retention": self.retention(batch.retain),
        }
'''


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A copy of the library and an empty project around it."""
    shutil.copytree(ROOT / "expunge", tmp_path / "expunge", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_a_source_is_one_file_and_one_setting(library: Path) -> None:
    (library / "expunge" / "corpus" / "sources" / "colours.py").write_text(SOURCE.lstrip())
    write_params(library, tiny_params(catalog={"source": "colours"}))
    out = run(library, sys.executable, "-m", "expunge.steps.catalog", "base", PYTHONPATH=str(library)).stdout
    assert "catalog: 160 samples" in out


def test_another_package_brings_a_source_by_an_entry_point(library: Path) -> None:
    (library / "elsewhere.py").write_text(SOURCE.lstrip())
    info = library / "elsewhere-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[expunge.sources]\ncolours = elsewhere:open_source\n")
    write_params(library, tiny_params(catalog={"source": "colours"}))
    out = run(library, sys.executable, "-m", "expunge.steps.catalog", "base", PYTHONPATH=str(library)).stdout
    assert "catalog: 160 samples" in out
    write_params(library, tiny_params(catalog={"source": "colors"}))
    failed = run(library, sys.executable, "-m", "expunge.steps.catalog", "base", check=False, PYTHONPATH=str(library))
    assert failed.returncode == 1
    assert "unknown source; known are cifar10, cifar100, coco, colours," in failed.stderr


def test_a_method_is_one_file_and_one_block(library: Path) -> None:
    (library / "expunge" / "unlearning" / "methods" / "push.py").write_text(METHOD.lstrip())
    params = tiny_params()
    params["unlearn"]["methods"]["push"] = {"weight": 2.0, "steps": 6, "learning_rate": 0.001}
    write_params(library, params)
    script = (
        "from expunge.settings import load_params; from expunge.unlearning import registry;"
        "from expunge.unlearning.methods import METHODS; assert 'push' in METHODS;"
        "print(registry.parameters('push', load_params().unlearn.methods['push']).weight)"
    )
    assert run(library, sys.executable, "-c", script, PYTHONPATH=str(library)).stdout.strip() == "2.0"
    assert "push" not in yaml.safe_load((ROOT / "params.yaml").read_text())["unlearn"]["methods"]
