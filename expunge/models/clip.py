"""An open_clip model with its preprocessing and tokenizer as one value: create, load, save, encode.

On disk a model is a folder with `model.safetensors` and `open_clip_config.json`, the layout that open_clip reads:
`open_clip.create_model_and_transforms("local-dir:models/base")`. The digest of a model is the SHA-256 of
`model.safetensors`, so `sha256sum` checks it; that of its preprocessing is in `expunge.models.files`.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from expunge.models.cropping import encode_cropped, longest_first
from expunge.models.description import describe
from expunge.models.files import CONFIG, PARTS, WEIGHTS
from expunge.models.network import Network, build, open_clip, text_tower
from expunge.models.ranks import LOCAL_RANK, count
from expunge.models.settings import ComputeParams, ModelParams
from expunge.models.tokenizers import Tokenizer, open_tokenizer, read_files
from expunge.models.weights import fit, read_settings, read_weights
from expunge.project.errors import ExpungeError, one_line
from expunge.project.files import atomic_path, sha256_file, write_bytes, write_json
from expunge.project.progress import brief

SORTED = 16384
"""Texts that are tokenised, and sorted by length, at a time."""
KEPT_IDS = 1 << 26
"""Token ids of a vocabulary's texts that are kept: 256 MiB."""


@dataclass(frozen=True)
class Clip:
    """A CLIP model, its image preprocessing and its tokenizer.

    Attributes:
        model: the open_clip network.
        preprocess: PIL image → float tensor [3, H, W], resized and normalised.
        tokenizer: list of texts → int64 tensor [B, context_length].
        config: content of `open_clip_config.json`.
        files: what else lies in the model's folder, by name: the files of a tokenizer of transformers.
        parts: of a model that was trained in slices, what it was put together from; no copy of the model keeps them.
    """

    model: Network
    preprocess: Callable[[Image.Image], Tensor]
    tokenizer: Tokenizer
    config: dict[str, Any]
    files: Mapping[str, bytes] = field(default_factory=dict)
    parts: Mapping[str, Tensor] | None = None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    @property
    def embed_dim(self) -> int:
        """Width D of the shared embedding space."""
        return self.config["model_cfg"]["embed_dim"]

    @property
    def image_size(self) -> int:
        """Height and width of the network's input, in pixels."""
        size = self.config["preprocess_cfg"]["size"]
        return size if isinstance(size, int) else size[0]

    def normalise(self, pixels: Tensor) -> Tensor:
        """uint8 pixels [B, 3, H, W] → the network's float input, on the model's device."""
        cfg = self.config["preprocess_cfg"]
        mean = torch.tensor(cfg["mean"], device=self.device).view(3, 1, 1)
        std = torch.tensor(cfg["std"], device=self.device).view(3, 1, 1)
        return (pixels.to(self.device).float() / 255 - mean) / std

    def to_uint8(self, image: Tensor) -> Tensor:
        """Inverse of `normalise` for one preprocessed image [3, H, W]: exact, since it came from 8-bit pixels."""
        cfg = self.config["preprocess_cfg"]
        mean, std = torch.tensor(cfg["mean"]).view(3, 1, 1), torch.tensor(cfg["std"]).view(3, 1, 1)
        return ((image * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)

    def pixels(self, image: Image.Image) -> Tensor:
        """uint8 pixels [3, H, W] of one picture: what `to_uint8` makes of its preprocessing, without the numbers on the
        way where that ends as open_clip's does; less than half the time."""
        steps = getattr(self.preprocess, "transforms", ())
        if [type(step).__name__ for step in steps[-2:]] != ["MaybeToTensor", "Normalize"]:
            return self.to_uint8(self.preprocess(image))
        for step in steps[:-2]:
            image = step(image)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()

    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """Unit image embeddings [B, D] (float32) of uint8 pixels [B, 3, H, W]; gradients flow if enabled."""
        inputs = self.normalise(pixels).contiguous(memory_format=torch.channels_last)
        return nn.functional.normalize(self.model.encode_image(inputs, normalize=False).float(), dim=-1)

    def encode_tokens(self, tokens: Tensor) -> Tensor:
        """Unit text embeddings [B, D] (float32) of token ids [B, L]; gradients flow if enabled.

        Where the text tower allows it, what follows the end of a text is not run.
        """
        moved = tokens.to(self.device)
        features = encode_cropped(self.model, moved)
        features = self.model.encode_text(moved, normalize=False) if features is None else features
        return nn.functional.normalize(features.float(), dim=-1)

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str], batch_size: int = 256) -> Tensor:
        """Unit text embeddings [N, D] (float32, CPU) of `texts`, in evaluation mode; batches are of like length."""
        self.model.eval()
        found, done = torch.empty(len(texts), self.embed_dim), 0
        with brief("encode captions") as report:
            for start in range(0, len(texts), SORTED):
                tokens = self.tokenizer(list(texts[start : start + SORTED]))
                for rows in longest_first(tokens).split(batch_size):
                    found[start + rows] = self.encode_tokens(tokens[rows]).cpu()
                    done += len(rows)
                    report(done, len(texts))
        return found

    @torch.inference_mode()
    def encode_images(self, pixels: Tensor, batch_size: int = 256) -> Tensor:
        """Unit image embeddings [N, D] (float32, CPU) of uint8 pixels [N, 3, H, W], in evaluation mode."""
        self.model.eval()
        parts = [self.encode_pixels(batch).cpu() for batch in pixels.split(batch_size)] if len(pixels) else []
        return torch.cat(parts) if parts else torch.empty(0, self.embed_dim)

    def clone(self) -> Clip:
        """An independent copy of the weights with the same preprocessing and tokenizer."""
        return replace(self, model=copy.deepcopy(self.model), parts=None)


def configure(compute: ComputeParams) -> torch.device:
    """Apply the compute settings to this process and return the device: deterministic kernels, thread count.

    Raises:
        ExpungeError: CUDA is asked for and there is none.
    """
    if compute.threads:
        torch.set_num_threads(compute.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling every new tensor with NaN helps to find reads of uninitialised memory and halves the speed of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # set by __setattr__
    if compute.device == "cuda" and not torch.cuda.is_available():
        raise ExpungeError("compute.device is `cuda`, but torch finds no GPU; set it to `auto` or `cpu`.")
    wants_gpu = compute.device == "cuda" or (compute.device == "auto" and torch.cuda.is_available())
    if not wants_gpu:
        return torch.device("cpu")
    if count() > 1:  # a GPU for each process of this machine
        torch.cuda.set_device(int(os.environ[LOCAL_RANK]))
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cuda")


@contextmanager
def autocast(device: torch.device, compute: ComputeParams) -> Iterator[None]:
    """The context of training and unlearning steps: mixed precision; encoding for storage is always float32.

    Attention over texts of a few tokens is twice as fast in plain matrix products as in the fused kernel on a CPU.

    Raises:
        ExpungeError: the precision has not been settled.
    """
    if compute.precision == "auto":
        raise ExpungeError("compute.precision is `auto`, which only the project's own stages measure; name one here.")
    attention = sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=compute.precision == "bf16"), attention:
        yield


@contextmanager
def compact_vocabulary(clip: Clip, texts: Sequence[str]) -> Iterator[Callable[[Sequence[str]], Tensor]]:
    """Inside the block the model knows only the tokens of `texts`; yields the tokenizer that goes with it.

    A corpus of captions uses a few thousand of CLIP's 49,408 tokens, yet the gradient of the embedding and the
    optimizer's work on it cover all of them: half of the parameters of a small model. Rows of unused tokens keep their
    values. Ids keep their order, since open_clip finds the end of a text by its highest id.

    Texts are tokenised once and looked up from then on, unless they are too many to keep: tokenising a batch takes an
    eighth of a step of a small text tower.
    """
    tower = text_tower(clip.model)
    if tower is None or not _told_by_highest_id(tower):
        yield clip.tokenizer
        return
    full = tower.token_embedding
    parts = [clip.tokenizer(list(texts[start : start + SORTED])).int() for start in range(0, len(texts), SORTED)]
    used = torch.unique(torch.cat([*(torch.unique(part) for part in parts), torch.zeros(1, dtype=torch.int)])).long()
    known = torch.cat(parts) if parts and sum(part.numel() for part in parts) <= KEPT_IDS else None
    place = {text: number for number, text in enumerate(texts)} if known is not None else {}

    def tokenize(chosen: Sequence[str]) -> Tensor:
        rows = [place.get(text) for text in chosen]
        ids = clip.tokenizer(list(chosen)) if known is None or None in rows else known[rows].long()
        return torch.searchsorted(used, ids)

    tower.token_embedding = nn.Embedding.from_pretrained(full.weight.detach()[used.to(clip.device)], freeze=False)
    try:
        yield tokenize
    finally:
        with torch.no_grad():
            full.weight[used.to(clip.device)] = tower.token_embedding.weight
        tower.token_embedding = full


def _told_by_highest_id(tower: Any) -> bool:
    """Whether a text tower looks at ids only for the highest one and for padding by zero, which keep their places."""
    pooling = getattr(tower, "text_pool_type", getattr(tower, "pool_type", "argmax"))
    return pooling != "eos" and getattr(tower, "pad_id", 0) == 0


def create(params: ModelParams, seed: int, weights: Path | None = None) -> Clip:
    """A new model as `params` describes it: randomly initialised from `seed`, or with pretrained weights.

    Args:
        weights: file or folder to take the weights from instead.

    Raises:
        ExpungeError: the model cannot be built, or what it starts from is missing, damaged or of another architecture.
    """
    try:
        found = describe(params if weights is None else params.model_copy(update={"pretrained": str(weights)}))
        model = found.network(seed)
    except ExpungeError as error:
        raise ExpungeError(f"params.yaml, block `model`: {error}") from None
    return _assemble(model, found.config(model), found.files)


def fresh(clip: Clip, seed: int) -> Clip:
    """A model of the same architecture with random weights drawn from `seed`, on the CPU."""
    return _assemble(build(clip.config["model_cfg"], clip.files, seed), clip.config, clip.files)


def load(folder: Path, device: torch.device | str = "cpu") -> Clip:
    """Load a model folder in evaluation mode.

    Raises:
        ExpungeError: the folder is incomplete, the weights are damaged, or they do not fit their config.
    """
    folder = Path(folder)
    for name in (WEIGHTS, CONFIG):
        if not (folder / name).is_file():
            raise ExpungeError(f"{folder / name} is missing; run `dvc repro` to build the model.")
    config, files = read_settings(folder / CONFIG), read_files(folder)
    try:
        model = build(config["model_cfg"], files)
        fit(model, read_weights(folder / WEIGHTS), folder / WEIGHTS)
    except (ExpungeError, KeyError) as error:
        raise ExpungeError(f"{folder / WEIGHTS} does not fit {folder / CONFIG}: {one_line(error)}") from None
    return _assemble(model.to(torch.device(device)), config, files)


def load_again(folder: Path, compute: ComputeParams, threads: int) -> Clip:
    """Load a model folder in another process, which computes with as many threads and so to the same bits."""
    torch.set_num_threads(threads)
    return load(folder, configure(compute))


def save(clip: Clip, folder: Path) -> str:
    """Write `clip` to `folder` in open_clip's layout and return the model's digest."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in clip.model.state_dict().items()}
    with atomic_path(Path(folder) / WEIGHTS) as partial:
        save_file(tensors, partial, metadata={"format": "pt"})
    write_json(Path(folder) / CONFIG, clip.config)
    for name, content in clip.files.items():
        write_bytes(Path(folder) / name, content)
    if clip.parts is not None:
        parts = {name: tensor.detach().cpu().contiguous() for name, tensor in clip.parts.items()}
        with atomic_path(Path(folder) / PARTS) as partial:
            save_file(parts, partial, metadata={"format": "pt"})
    return model_digest(folder)


def model_digest(folder: Path) -> str:
    """Hex SHA-256 of the weights file.

    Raises:
        ExpungeError: there is no model in `folder`.
    """
    try:
        return sha256_file(Path(folder) / WEIGHTS)
    except FileNotFoundError:
        raise ExpungeError(f"{Path(folder) / WEIGHTS} is missing; run `dvc repro` to build the model.") from None


def _assemble(model: Network, config: dict[str, Any], files: Mapping[str, bytes]) -> Clip:
    preprocess_cfg = open_clip.transform.PreprocessCfg(**config["preprocess_cfg"])
    preprocess = open_clip.transform.image_transform_v2(preprocess_cfg, is_train=False)
    tokenizer = open_tokenizer(config["model_cfg"], files)
    model.eval()
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack this overload
    return Clip(model, preprocess, tokenizer, config, files)
