"""What the machine has: GPU, torch and torchvision, FAISS, transformers, disk, ports."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from expunge.repair.state import Site
from expunge.repair.symptoms import Symptom, answers

PORTS = {4200: "Prefect's server (`make serve`)", 5000: "MLflow's pages (`make ui`)"}
LEAST_DISK, ENOUGH_DISK = 1 << 30, 10 << 30
"""Bytes: with less nothing is built, with less than the second a large corpus will not fit."""
FAISS = ("faiss-cpu", "faiss-gpu", "faiss-gpu-cu12", "faiss-gpu-cuvs")


def gpu(site: Site) -> Iterator[Symptom]:
    """The device that the settings ask for."""
    import torch

    wanted, there = site.params.compute.device, torch.cuda.is_available()
    if wanted == "cuda" and not there:
        yield Symptom("GPU", "blocks", "torch finds none, and compute.device is `cuda`", "set it to `auto` or `cpu`")
    elif there:
        yield Symptom("GPU", "ok", f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}")
    else:
        yield Symptom("GPU", "ok", f"none; compute.device is `{wanted}`, so the CPU works")


def torchvision(site: Site) -> Iterator[Symptom]:
    """Whether torchvision is built for the torch that is here."""
    import torch

    from expunge.models import _torchvision

    try:
        _torchvision.ensure()
    except (ImportError, RuntimeError) as error:
        cure = f"install the build of torchvision for torch {torch.__version__}"
        yield Symptom("torchvision", "blocks", f"cannot be imported ({str(error)[:80]})", cure)
        return
    pair = f"torchvision {version('torchvision')} with torch {torch.__version__}"
    if _torchvision.mended():
        cure = "for plain open_clip in this environment import `expunge.models.clip` first, or install the CPU build"
        yield Symptom("torchvision", "note", f"{pair}: another build, which expunge mends for itself", cure)
    else:
        yield Symptom("torchvision", "ok", pair)


def faiss(site: Site) -> Iterator[Symptom]:
    """Which FAISS is installed: one of them, as they share an import name."""
    found = [name for name in FAISS if _installed(name)]
    if not found:
        cure = "pip install 'expunge[cpu]', or 'expunge[gpu]'"
        yield Symptom("FAISS", "blocks", "none is installed", cure)
    elif len(found) > 1:
        yield Symptom("FAISS", "blocks", f"{' and '.join(found)} overwrite each other", "uninstall all but one")
    else:
        yield Symptom("FAISS", "ok", f"{found[0]} {version(found[0])}")


def model(site: Site) -> Iterator[Symptom]:
    """Whether the model of params.yaml can be built from what is here; nothing is downloaded."""
    from expunge.models.network import open_clip
    from expunge.models.sources import LOCAL

    params, root = site.params.model, site.paths.root
    external = site.params.train.external
    named = {"model.name": params.name.removeprefix(LOCAL) if params.name and params.name.startswith(LOCAL) else None}
    named["train.external.checkpoint"] = external.checkpoint if external else None
    known = params.name is not None and params.pretrained is not None
    if not (known and open_clip.get_pretrained_cfg(params.name, params.pretrained)):
        named["model.pretrained"] = params.pretrained
    for key, place in named.items():
        if place is not None and not (root / place).exists():
            yield Symptom("model", "blocks", f"{key}: there is no {place}", "name a file or a folder that is there")
            return
    listed = params.name is None or params.name.startswith((LOCAL, "hf-hub:"))
    if not listed and params.name not in open_clip.list_models():
        yield Symptom(
            "model", "blocks", f"model.name: open_clip lists no {params.name}", "see `open_clip.list_models()`"
        )
        return
    described = params.model_dump() if params.name is None else open_clip.get_model_config(params.name) or {}
    text, vision = described.get("text_cfg") or {}, described.get("vision_cfg") or {}
    if {"hf_tokenizer_name", "hf_model_name"} & set(text) and find_spec("transformers") is None:
        yield Symptom("model", "blocks", "its tokenizer comes from transformers", "pip install 'expunge[text]'")
        return
    yield Symptom("model", "ok", params.name or "described in params.yaml")
    wanted, kept = vision.get("image_size"), site.params.catalog.image_size
    if isinstance(wanted, int) and wanted > kept:
        said = f"the catalog keeps them at {kept} pixels, and the model takes {wanted}"
        yield Symptom("pictures", "note", said, f"catalog.image_size: {wanted}")


def disk(site: Site) -> Iterator[Symptom]:
    """Room in the project and for decoded pictures."""
    for what, folder in (
        ("disk", site.paths.root.resolve()),
        ("disk for decoded pictures", Path(tempfile.gettempdir())),
    ):
        free = shutil.disk_usage(folder).free
        said = f"{free / 2**30:.1f} GiB free in {folder}"
        if free < LEAST_DISK:
            yield Symptom(what, "blocks", said, "make room" if folder == site.paths.root.resolve() else "set TMPDIR")
        else:
            yield Symptom(what, "ok" if free >= ENOUGH_DISK else "note", said)


def ports(site: Site) -> Iterator[Symptom]:
    """Whether the servers of `make` find their ports free."""
    for port, purpose in PORTS.items():
        if answers("127.0.0.1", port):
            yield Symptom(f"port {port}", "note", f"in use: by {purpose}, or by another program")
        else:
            yield Symptom(f"port {port}", "ok", f"free for {purpose}")


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True
