"""What params.yaml says of a model, looked up: architecture, preprocessing, files of its tokenizer, first weights.

`model.name` is an architecture that open_clip lists, `hf-hub:OWNER/NAME`, or `local-dir:FOLDER` with a model of
open_clip or a CLIPModel of transformers in it; `model.pretrained` is one of open_clip's tags, a file or a folder.
Everything is found, and what cannot work is refused, before any picture is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from torch import Tensor

from expunge.models.files import CONFIG
from expunge.models.hub import published_weights, repository_model
from expunge.models.hugging_face import converted_config, converted_weights, is_hugging_face
from expunge.models.network import Network, build, open_clip
from expunge.models.settings import ModelParams
from expunge.models.sources import LOCAL
from expunge.models.tokenizers import find_files
from expunge.models.weights import fit, read_settings, read_weights
from expunge.project.errors import ExpungeError, suggest

HUB = "hf-hub:"
PREPROCESSING = ("mean", "std", "interpolation", "resize_mode")


@dataclass(frozen=True)
class Description:
    """A model that can be built.

    Attributes:
        model_cfg: as in `open_clip_config.json`.
        preprocess_cfg: what is known of preprocessing; open_clip's defaults fill in the rest.
        files: what lies beside the weights, by name: tokenizer, configuration of the text tower.
        weights: file or folder with the weights that the model starts from; None: random ones.
    """

    model_cfg: dict[str, Any]
    preprocess_cfg: dict[str, Any]
    files: dict[str, bytes]
    weights: Path | None

    def network(self, seed: int) -> Network:
        """The network with its first weights; random ones are drawn from `seed`.

        Raises:
            ExpungeError: open_clip cannot build it, or the weights are damaged or of another architecture.
        """
        model = build(self.model_cfg, self.files, seed)
        if self.weights is not None:
            load_weights(model, self.weights)
        return model

    def config(self, model: Network) -> dict[str, Any]:
        """Content of `open_clip_config.json`."""
        size = getattr(model.visual, "image_size", None)
        known = asdict(open_clip.transform.PreprocessCfg()) | self.preprocess_cfg | ({"size": size} if size else {})
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in known.items()}
        return {"model_cfg": self.model_cfg, "preprocess_cfg": plain}


def describe(params: ModelParams) -> Description:
    """Look up what `params` names.

    Raises:
        ExpungeError: an architecture is unknown, or a file, a folder or a download is missing.
    """
    if params.name is None:
        model_cfg, preprocess_cfg, weights = _described(params), {"mean": (0.5,) * 3, "std": (0.5,) * 3}, None
    else:
        model_cfg, preprocess_cfg, weights = _named(params.name)
    if params.pretrained is not None:
        weights = _pretrained(params.name, params.pretrained)
        if params.name and (tag := open_clip.get_pretrained_cfg(params.name, params.pretrained)):
            preprocess_cfg = _only_preprocessing(tag)
    given = {key: value for key in PREPROCESSING if (value := getattr(params, key)) is not None}
    source = params.tokenizer
    if source is None and params.name is not None and params.name.startswith((LOCAL, HUB)):
        source = params.name.removeprefix(LOCAL).removeprefix(HUB)
    return Description(model_cfg, preprocess_cfg | given, find_files(model_cfg, source), weights)


def architecture(name: str) -> dict[str, Any]:
    """The architecture that `model.name` says, as in `open_clip_config.json`.

    Raises:
        ExpungeError: it is unknown, or its folder or the hub does not say.
    """
    return _named(name)[0]


def load_weights(model: Network, source: Path) -> None:
    """Put the weights of a file or a folder, of open_clip or of transformers, into `model`.

    Raises:
        ExpungeError: they are missing, damaged, or of another architecture.
    """
    state: Mapping[str, Tensor] = read_weights(source)
    if source.is_dir() and is_hugging_face(source):
        state = converted_weights(state, source)
    fit(model, state, source)


def _described(params: ModelParams) -> dict[str, Any]:
    found = {"embed_dim": params.embed_dim, "vision_cfg": params.vision_cfg, "text_cfg": params.text_cfg}
    return found | (params.further_cfg or {})


def _named(name: str) -> tuple[dict[str, Any], dict[str, Any], Path | None]:
    """Architecture, preprocessing and weights of `model.name`."""
    if name.startswith(LOCAL):
        folder = Path(name.removeprefix(LOCAL))
        if not folder.is_dir():
            raise ExpungeError(f"model.name: {folder} is not a folder.")
        config = converted_config(folder) if is_hugging_face(folder) else read_settings(folder / CONFIG)
        return *_parts(config, folder), folder
    if name.startswith(HUB):
        path, weights = repository_model(name.removeprefix(HUB))
        return *_parts(read_settings(path), path), weights
    model_cfg = open_clip.get_model_config(name)
    if model_cfg is None:
        raise ExpungeError(f"model.name: open_clip lists no {name!r}{suggest(name, open_clip.list_models())}.")
    published = [
        _only_preprocessing(open_clip.get_pretrained_cfg(name, tag))
        for tag in open_clip.list_pretrained_tags_by_model(name)
    ]
    agreed = published[0] if published and all(cfg == published[0] for cfg in published) else {}
    return model_cfg, agreed, None


def _parts(config: Mapping[str, Any], where: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    model_cfg = config.get("model_cfg")
    if not isinstance(model_cfg, dict) or not {"embed_dim", "vision_cfg", "text_cfg"} <= model_cfg.keys():
        raise ExpungeError(f"{where}: {CONFIG} describes no model (model_cfg with embed_dim, vision_cfg and text_cfg).")
    return model_cfg, _only_preprocessing(config.get("preprocess_cfg") or {})


def _pretrained(name: str | None, pretrained: str) -> Path:
    """File or folder of the weights that `model.pretrained` names: one that is there, or one of open_clip's tags."""
    if Path(pretrained).exists():
        return Path(pretrained)
    if name is not None and (weights := published_weights(name, pretrained)) is not None:
        return weights
    tags = ", ".join(open_clip.list_pretrained_tags_by_model(name) if name else [])
    raise ExpungeError(
        f"model.pretrained: {pretrained!r} is neither a file or a folder nor one of open_clip's tags"
        f"{f' of {name} ({tags})' if tags else ''}."
    )


def _only_preprocessing(cfg: Mapping[str, Any]) -> dict[str, Any]:
    known = {field.name for field in fields(open_clip.transform.PreprocessCfg)} - {"size"}
    return {key: tuple(value) if isinstance(value, list) else value for key, value in cfg.items() if key in known}
