"""Does a real generator still paint a forgotten concept? Stable Diffusion with the unlearned text tower in it.

An optional extra: `pip install "expunge[diffusion]"`. A pipeline of diffusers was trained with one text tower and reads
its token states, so only a model that descends from that very tower can take its place: width, depth, heads,
vocabulary, context length and activation must all match, which the small model trained from scratch here never does
(`expunge.examination.conditioning` is for it). The tower of Stable Diffusion 1.x is OpenAI's ViT-L/14, in params.yaml
`model: {name: ViT-L-14-quickgelu, pretrained: openai}`.

The count follows CLIPErase (arXiv 2410.23330): the share of paintings in which a detector sees the concept. The
detector here is zero-shot classification by CLIP, and must be a model that knows the concept, such as the original.
Paintings are counted and dropped, never stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from expunge.evaluation.zero_shot import class_prototypes
from expunge.examination.conditioning import text_tower
from expunge.models.clip import Clip
from expunge.project.errors import ExpungeError

MISSING = 'Painting needs diffusers and transformers, which are not installed: pip install "expunge[diffusion]".'


def load_pipeline(name: str, device: torch.device) -> Any:
    """The text-to-image pipeline `name`, a folder or a name on the Hugging Face Hub, from safetensors only.

    Raises:
        ExpungeError: diffusers is not installed, or cannot load the pipeline.
    """
    try:
        from diffusers import DiffusionPipeline
    except ImportError:
        raise ExpungeError(MISSING) from None
    try:
        pipeline = DiffusionPipeline.from_pretrained(name, use_safetensors=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ExpungeError(
            f"diffusers cannot load the pipeline {name}: {' '.join(str(error).split())[:200]}"
        ) from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def condition(pipeline: Any, clip: Clip) -> None:
    """Let `pipeline` read the token states of `clip`'s text tower from now on; image and time steps stay its own.

    Raises:
        ExpungeError: the tower of `clip` is not of the architecture of the pipeline's; nothing was changed then.
    """
    encoder = pipeline.text_encoder
    given = _architecture(clip)
    wanted = {name: getattr(encoder.config, name, None) for name in given}
    if given != wanted:
        clauses = ", ".join(
            f"{name} {given[name]} instead of {wanted[name]}" for name in given if given[name] != wanted[name]
        )
        raise ExpungeError(f"The pipeline cannot read this model's text tower: {clauses}. Use the tower it came with.")
    # transformers 5 has one level less than transformers 4.
    getattr(encoder, "text_model", encoder).load_state_dict(_renamed(text_tower(clip)))


def hits(
    pipeline: Any,
    detector: Clip,
    prompts: Sequence[tuple[str, str]],
    classes: Sequence[str],
    templates: tuple[str, ...],
    images: int,
    seed: int,
) -> float:
    """Share of paintings in which `detector` names the prompt's own class first among all `classes`.

    Args:
        pipeline: called as diffusers' pipelines are; returns PIL images.
        prompts: (prompt, its class) pairs; each class is among `classes`.
        templates: of zero-shot classification.
        images: paintings for each prompt; prompt number p is painted with the seed `seed` + p.
    """
    names = sorted(set(classes))
    prototypes = class_prototypes(detector, names, templates)
    found = []
    for number, (prompt, name) in enumerate(prompts):
        generator = torch.Generator().manual_seed(seed + number)
        painted = pipeline(prompt, num_images_per_prompt=images, generator=generator).images
        pixels = [detector.to_uint8(detector.preprocess(image.convert("RGB"))) for image in painted]
        seen = (detector.encode_images(torch.stack(pixels)) @ prototypes.T).argmax(dim=1)
        found.append(seen == names.index(name))
    return torch.cat(found).double().mean().item()


def _architecture(clip: Clip) -> dict[str, Any]:
    tower = text_tower(clip)
    blocks = tower.transformer.resblocks
    return {
        "hidden_size": tower.token_embedding.embedding_dim,
        "num_hidden_layers": len(blocks),
        "num_attention_heads": blocks[0].attn.num_heads,
        "intermediate_size": blocks[0].mlp.c_fc.out_features,
        "vocab_size": tower.token_embedding.num_embeddings,
        "max_position_embeddings": len(tower.positional_embedding),
        "hidden_act": "gelu" if isinstance(blocks[0].mlp.gelu, nn.GELU) else "quick_gelu",
    }


def _renamed(tower: Any) -> dict[str, Tensor]:
    """The weights of open_clip's text tower up to the last layer norm, under the names of transformers' CLIP."""
    renamed = {
        "embeddings.token_embedding.weight": tower.token_embedding.weight.detach(),
        "embeddings.position_embedding.weight": tower.positional_embedding.detach(),
    }
    for kind in ("weight", "bias"):
        renamed[f"final_layer_norm.{kind}"] = getattr(tower.ln_final, kind).detach()
        for number, block in enumerate(tower.transformer.resblocks):
            layer = f"encoder.layers.{number}"
            packed = getattr(block.attn, f"in_proj_{kind}").detach()
            for name, part in zip(("q_proj", "k_proj", "v_proj"), packed.chunk(3), strict=True):
                renamed[f"{layer}.self_attn.{name}.{kind}"] = part
            for name, module in {
                "self_attn.out_proj": block.attn.out_proj,
                "layer_norm1": block.ln_1,
                "layer_norm2": block.ln_2,
                "mlp.fc1": block.mlp.c_fc,
                "mlp.fc2": block.mlp.c_proj,
            }.items():
                renamed[f"{layer}.{name}.{kind}"] = getattr(module, kind).detach()
    return renamed
