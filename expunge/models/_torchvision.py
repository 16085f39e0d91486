"""Makes `import torchvision` work where a CUDA build of it sits beside a CPU build of torch.

Package registries serve torchvision built for CUDA; beside a CPU torch its import fails with "operator
torchvision::nms does not exist", because the compiled operators cannot be loaded (pytorch/vision#8985). open_clip
imports torchvision but uses only its Python transforms, so declaring the two missing schemas is enough. Where
torchvision is whole, this module imports it and does nothing else. Detection operators stay unavailable.
"""

from __future__ import annotations

import sys

import torch

_library: torch.library.Library | None = None


def ensure() -> None:
    """Import torchvision, declaring `nms` and `qnms` first if (and only if) their absence breaks the import."""
    global _library
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        _library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            _library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision  # noqa: F401


def mended() -> bool:
    """Whether `ensure` had to declare the operators."""
    return _library is not None
