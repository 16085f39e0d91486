"""The families of open_clip's architectures, shrunk: the same classes and the same code, narrow and shallow.

Tokenizers are trained on a handful of captions and stored in transformers' real formats.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from expunge.models.network import open_clip
from expunge.models.settings import ModelParams

WORDS = ("apple", "bird", "car", "drum")
TEXTS = [f"{word} number {number}, a picture of {word}" for word in WORDS for number in range(9)]


def shrunk(name: str, folder: Path) -> ModelParams:
    """The settings of a small model of the family that open_clip lists as `name`; its tokenizer lies in `folder`."""
    cfg = open_clip.get_model_config(name)
    vision, text = cfg["vision_cfg"], cfg["text_cfg"]
    cfg["embed_dim"] = 32
    vision["image_size"] = 32
    if "timm_model_name" in vision:
        vision["timm_model_name"] = SMALLER[vision["timm_model_name"]]
        vision["image_size"] = 160 if vision["timm_model_name"].startswith("test_") else 32
        if vision.get("timm_proj") == "none":
            cfg["embed_dim"] = 64  # of the smaller tower: this family has no projection
    elif isinstance(vision["layers"], list):
        vision |= {"layers": [1, 1, 1, 1], "width": 8, "head_width": 32}
    else:
        vision |= {"layers": 2, "width": 64, "patch_size": 16, "head_width": 32}
    if "attn_pooler_heads" in vision:
        vision |= {"attn_pooler_heads": 2}
    if "hf_model_name" not in text:
        text |= {"context_length": 12, "width": 32, "heads": 2, "layers": 2}
        if cfg["embed_dim"] == 64:
            text |= {"width": 64}
    if "hf_tokenizer_name" in text:
        text |= {"context_length": 12, "vocab_size": 400}
    if "multimodal_cfg" in cfg:
        cfg["multimodal_cfg"] |= {"context_length": 12, "width": 32, "heads": 2, "layers": 1, "attn_pooler_heads": 2}
    tokenizer = TOKENIZERS[name](folder) if name in TOKENIZERS else None
    further = {key: cfg[key] for key in cfg.keys() - {"embed_dim", "vision_cfg", "text_cfg"}}
    return ModelParams(
        embed_dim=cfg["embed_dim"],
        vision_cfg=vision,
        text_cfg=text,
        further_cfg=further or None,
        tokenizer=str(tokenizer) if tokenizer else None,
    )


SMALLER = {
    "eva02_base_patch16_clip_224": "small_eva",
    "vit_base_patch16_siglip_224": "test_vit",
    "fastvit_mci0": "fastvit_t8",
}
"""A vision tower of timm → a small one of its family."""


def small_eva(pretrained: bool = False, **options: Any) -> Any:
    """EVA-02 with the parts that set the family apart: rotary positions, SwiGLU, a norm inside of each block."""
    from timm.models.eva import _create_eva

    parts = {"qkv_fused": False, "swiglu_mlp": True, "scale_mlp": True, "use_rot_pos_emb": True, "mlp_ratio": 2}
    shape = {"img_size": 32, "patch_size": 16, "embed_dim": 64, "depth": 2, "num_heads": 2, "ref_feat_shape": (16, 16)}
    return _create_eva("small_eva", pretrained=pretrained, **(parts | shape | options))


def _register() -> None:
    import timm.models

    small_eva.__module__ = "timm.models.eva"  # where timm looks for what lists its models
    timm.models.eva.default_cfgs["small_eva"] = timm.models.eva.default_cfgs["eva02_tiny_patch14_224"]
    timm.models.register_model(small_eva)


_register()


def siglip_tokenizer(folder: Path, kind: str = "T5TokenizerFast") -> Path:
    """A sentencepiece-like unigram vocabulary, as SigLIP and SigLIP 2 have one."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=special, unk_token="<unk>")
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    settings = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "padding_side": "right"}
    return _stored(tokenizer, folder, {"tokenizer_class": kind, **settings})


def roberta_files(folder: Path) -> Path:
    """A byte-level vocabulary as RoBERTa's, and the configuration of a small text tower."""
    from tokenizers import ByteLevelBPETokenizer

    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(TEXTS, vocab_size=400, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_model(str(folder))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "RobertaTokenizer"}))
    config = {
        "model_type": "roberta",
        "vocab_size": 400,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 20,
        "pad_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _stored(tokenizer: Any, folder: Path, settings: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


TOKENIZERS: dict[str, Callable[[Path], Path]] = {
    "ViT-B-16-SigLIP": siglip_tokenizer,
    "ViT-B-16-SigLIP2": partial(siglip_tokenizer, kind="PreTrainedTokenizerFast"),
    "roberta-ViT-B-32": roberta_files,
}
ARCHITECTURES = (
    "ViT-B-32",
    "ViT-B-32-quickgelu",
    "RN50",
    "EVA02-B-16",
    "ViT-B-16-SigLIP",
    "ViT-B-16-SigLIP2",
    "MobileCLIP2-S0",
    "coca_ViT-B-32",
    "roberta-ViT-B-32",
)
