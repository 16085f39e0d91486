"""How alike two models represent the same samples, layer by layer: linear centred kernel alignment (CKA).

Kornblith et al. 2019, arXiv 1905.00414, section 3, for linear kernels: with centred activations X and Y of the same
samples, CKA = ‖YᵀX‖² / (‖XᵀX‖ ‖YᵀY‖) in Frobenius norms. It is 1 where one is the other turned or scaled, and near 0
where they have nothing in common.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from expunge.models.clip import Clip

DEEPEST = 3
"""Dots in the name of a layer that is looked at: what lies deeper are parts of blocks."""


def linear_cka(x: Tensor, y: Tensor) -> float:
    """CKA of activations [N, P] and [N, Q] of the same N samples, in [0, 1]; 1 where both are constant."""
    x, y = (value.double() - value.double().mean(dim=0) for value in (x, y))
    cross, own, other = (torch.linalg.matrix_norm(left.T @ right) for left, right in ((y, x), (x, x), (y, y)))
    if not own * other:
        return float(own == other)
    return float(cross**2 / (own * other))


@torch.inference_mode()
def activations(clip: Clip, pixels: Tensor, texts: Sequence[str]) -> dict[str, Tensor]:
    """Layer → activations [N, C], averaged over places and words, of both towers; embeddings come last of each.

    Layers are the members of the towers' sequences and lists of blocks, by their names.

    Args:
        pixels: uint8 [N, 3, H, W].
        texts: N captions.
    """
    found: dict[str, Tensor] = {}
    clip.model.eval()
    hooks = [layer.register_forward_hook(_keeper(found, name, len(texts))) for name, layer in _layers(clip.model)]
    try:
        images = clip.model.encode_image(clip.normalise(pixels)).float().cpu()
        towards = list(found)
        words = clip.model.encode_text(clip.tokenizer(list(texts)).to(clip.device)).float().cpu()
    finally:
        for hook in hooks:
            hook.remove()
    ordered = {f"image: {name.removeprefix('visual.')}": found[name] for name in towards}
    ordered["image embedding"] = images
    ordered |= {f"text: {name}": value for name, value in found.items() if name not in towards}
    return ordered | {"text embedding": words}


def _layers(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Blocks of the towers: members of sequences and lists, not those inside another block."""
    found: list[tuple[str, nn.Module]] = []
    for name, module in model.named_modules():
        if not isinstance(module, nn.ModuleList | nn.Sequential) or name.count(".") >= DEEPEST:
            continue
        if any(f"{name}.".startswith(f"{outer}.") for outer, _ in found):
            continue
        found += [(f"{name}.{child}", layer) for child, layer in module.named_children()]
    return found


def _keeper(found: dict[str, Tensor], name: str, count: int) -> Callable[[nn.Module, object, object], None]:
    """A hook that keeps what a layer gives, one row a sample."""

    def keep(_layer: nn.Module, _inputs: object, output: object) -> None:
        value = output[0] if isinstance(output, tuple) else output
        if not isinstance(value, Tensor) or value.dim() < 2 or count not in value.shape[:2]:
            return
        value = value if value.shape[0] == count else value.transpose(0, 1)
        if value.dim() == 4:
            value = value.mean(dim=(2, 3))
        elif value.dim() == 3:
            value = value.mean(dim=1)
        found[name] = value.detach().float().cpu()

    return keep
