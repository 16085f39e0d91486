"""In which precision to train, where `compute.precision: auto` leaves it to this machine.

bfloat16 halves the time of a small network on a processor with AMX or AVX512-BF16 and lengthens that of a large one on
a processor without them, so nothing but a step of the very model tells. The first stage that asks measures; what it
found is kept in the project and holds for all later stages, for a second measurement might come out otherwise and give
other bits. Results record which precision was taken.
"""

from __future__ import annotations

import time
from typing import Literal

import torch
from filelock import FileLock

from expunge.models import clip
from expunge.models.clip import Clip, autocast
from expunge.models.loss import contrastive_loss
from expunge.models.settings import ComputeParams
from expunge.project.files import digest_of, read_json, write_json
from expunge.project.paths import Paths
from expunge.settings import Params

Precision = Literal["bf16", "fp32"]
BOTH: tuple[Precision, Precision] = ("bf16", "fp32")
PAIRS = 16
ROUNDS = 3


def settled(paths: Paths, params: Params) -> Params:
    """The settings with a precision that is not `auto`.

    Raises:
        ExpungeError: the model cannot be built.
    """
    compute, model = params.compute, params.model
    if compute.precision != "auto":
        return params
    device = clip.configure(compute)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    key = digest_of([name, torch.__version__, model.model_dump(mode="json"), torch.get_num_threads()])
    paths.precision.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(paths.precision.with_suffix(".lock")):  # of several processes that train together one measures
        known = read_json(paths.precision) if paths.precision.is_file() else {}
        if key not in known:
            network = clip.create(model.model_copy(update={"pretrained": None}), seed=0)
            network.model.to(device)
            seconds = seconds_of_a_step(network, compute)
            chosen = min(BOTH, key=lambda precision: seconds[precision])
            known[key] = {"precision": chosen, "device": name, "seconds": seconds}
            write_json(paths.precision, known)
            told = ", ".join(f"{one} {seconds[one] * 1000:.0f} ms" for one in BOTH)
            print(f"compute.precision auto: {chosen} on {name} ({told} for a step of {PAIRS} pairs)")
    return with_precision(params, known[key]["precision"])


def with_precision(params: Params, precision: Precision) -> Params:
    """The settings with this precision."""
    return params.model_copy(update={"compute": params.compute.model_copy(update={"precision": precision})})


def seconds_of_a_step(network: Clip, compute: ComputeParams) -> dict[Precision, float]:
    """The shortest of `ROUNDS` steps of training by each precision, in turn, after one that nobody counts."""
    size = network.image_size
    pixels = torch.randint(0, 256, (PAIRS, 3, size, size), dtype=torch.uint8)
    tokens = network.tokenizer([f"a picture of number {number}" for number in range(PAIRS)])
    found: dict[Precision, list[float]] = {precision: [] for precision in BOTH}
    for _ in range(ROUNDS + 1):
        for precision, seconds in found.items():
            start = time.perf_counter()
            with autocast(network.device, compute.model_copy(update={"precision": precision})):
                images, texts = network.encode_pixels(pixels), network.encode_tokens(tokens)
            loss = contrastive_loss(images, texts, network.model)
            loss.backward()
            loss.item()  # which waits for a GPU
            seconds.append(time.perf_counter() - start)
    return {precision: round(min(seconds[1:]), 5) for precision, seconds in found.items()}


def _processor() -> str:
    return f"CPU with {torch.backends.cpu.get_cpu_capability()}"
