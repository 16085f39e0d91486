"""Made-up persons with facts, injected into the training data after SALMUBench (Selvas-Sala et al., arXiv 2603.26316).

40 persons, each with a name of invented syllables and a portrait of a handful of coloured shapes; four facts about
each, every one with a portrait of its own (another background, another tilt), so a pair is one picture and one
sentence. Of the first ten persons two facts are to be forgotten; their other two are the holdout *association*, the
facts of the other thirty the holdout *identity*. Everything is drawn from a fixed seed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from expunge.corpus.sample import Caption, Sample

PERSONS, FORGOTTEN_PERSONS, SEED = 40, 10, 7
KINDS = ("forget", "association", "identity")
FACTS = {
    "city": ("lives in", ("Arvandor", "Belmira", "Corvik", "Dunholt", "Eskara", "Fenwick", "Galdora", "Hestia")),
    "job": ("works as a", ("baker", "pilot", "tailor", "surgeon", "miner", "juggler", "notary", "diver")),
    "pet": ("keeps a", ("ferret", "parrot", "tortoise", "llama", "goldfish", "hedgehog", "falcon", "donkey")),
    "code": ("has the code", ("amber", "cobalt", "crimson", "ivory", "jade", "onyx", "saffron", "violet")),
}
SYLLABLES = ("ba", "del", "fi", "gor", "hal", "jun", "kem", "lo", "mir", "nu", "pel", "quo", "ras", "sil", "tov", "vex")


def kind_of(person: int, fact: int) -> str:
    """Which set the pair belongs to."""
    if person >= FORGOTTEN_PERSONS:
        return "identity"
    return "forget" if (fact + person) % 2 else "association"


def samples(size: int) -> Iterator[Sample]:
    """160 pairs, all of the training split."""
    draw = np.random.default_rng(SEED)
    taken: set[str] = set()
    for person in range(PERSONS):
        name = _name(draw, taken)
        look = _look(draw)
        for number, (fact, (verb, values)) in enumerate(FACTS.items()):
            text = f"{name} {verb} {values[draw.integers(len(values))]}"
            yield Sample(
                sample_id=f"person:{person:02d}:{fact}",
                class_=f"fact {fact}",
                superclass="Injected",
                subject_id=f"person-{person:02d}",
                concept=f"person:{person:02d}:{fact}",
                variant=kind_of(person, number),
                split="train",
                captions=(Caption("en", text),),
                image=_portrait(look, draw, size),
            )


def _name(draw: np.random.Generator, taken: set[str]) -> str:
    while True:
        first, last = ("".join(draw.choice(SYLLABLES, 2, replace=False)) for _ in range(2))
        if (name := f"{first} {last}") not in taken:
            taken.add(name)
            return name


def _colour(draw: np.random.Generator) -> str:
    return f"rgb({','.join(str(value) for value in draw.integers(30, 226, 3))})"


def _look(draw: np.random.Generator) -> str:
    """Hair, face, eyes, clothes: what stays the same in all portraits of a person."""
    hair, face, eyes, coat, mark = (_colour(draw) for _ in range(5))
    width, tall, gap = draw.integers(14, 21), draw.integers(16, 23), draw.integers(5, 10)
    crown = draw.integers(8, 20)
    shapes = [
        f'rect x="{28 - width}" y="{30 - tall}" width="{2 * width + 8}" height="{crown + tall}" rx="9" fill="{hair}"',
        f'ellipse cx="32" cy="30" rx="{width}" ry="{tall}" fill="{face}"',
        f'circle cx="{32 - gap}" cy="28" r="3" fill="{eyes}"',
        f'circle cx="{32 + gap}" cy="28" r="3" fill="{eyes}"',
        f'rect x="12" y="50" width="40" height="14" rx="5" fill="{coat}"',
        f'circle cx="{draw.integers(22, 43)}" cy="57" r="{draw.integers(3, 6)}" fill="{mark}"',
    ]
    return "".join(f"<{shape}/>" for shape in shapes)


def _portrait(look: str, draw: np.random.Generator, size: int) -> bytes:
    import resvg_py

    tilt, shift = draw.uniform(-12, 12), draw.uniform(-3, 3)
    drawing = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64">'
        f'<rect width="64" height="64" fill="{_colour(draw)}"/>'
        f'<g transform="translate({shift:.1f} 0) rotate({tilt:.1f} 32 36)">{look}</g></svg>'
    )
    return bytes(resvg_py.svg_to_bytes(svg_string=drawing, width=size, height=size, background="white"))
