"""The words of the report: what a figure is called and what a verdict means to someone who trains no models."""

from __future__ import annotations

from collections.abc import Sequence

from expunge.evaluation.metrics import GateResult

MODELS = {"original": "before", "unlearned": "this release", "retrained": "retrained without the data"}

SETS = {
    "forget": "forgotten",
    "neighbours": "neighbours",
    "retain": "retained",
    "train_plain": "trained, plain",
    "train_variants": "trained, variants",
    "calibration": "calibration",
    "test": "held out",
    "test_concepts": "unseen concepts",
    "test_variants": "unseen variants",
}

METRICS = {
    "zero_shot_top1": "Class named right (zero-shot top-1)",
    "image_to_text_r1": "Picture finds its caption first (R@1)",
    "image_to_text_r5": "… among the first 5 (R@5)",
    "image_to_text_r10": "… among the first 10 (R@10)",
    "text_to_image_r1": "Caption finds its picture first (R@1)",
    "text_to_image_r5": "… among the first 5 (R@5)",
    "text_to_image_r10": "… among the first 10 (R@10)",
    "pair_similarity": "Similarity of picture and caption (cosine)",
}
"""In the order in which tables show them; all but the last are shares of pairs."""

ATTACKS = {
    "mia_auc": "Membership attack (AUC; the yardstick is the retrained model's)",
    "relearn_steps": "Steps until half of it is relearned",
}

CHECKS = {
    "forget_recall": "Forgotten pictures and captions no longer find each other",
    "forget_similarity": "Forgotten pairs are as similar as pairs never seen",
    "forget_deviation": "Forgotten pairs differ among themselves as pairs never seen do",
    "forget_shape": "Their similarities are distributed as those of pairs never seen",
    "membership": "An attacker cannot tell who was in the data",
    "token_rows": "The weights do not name forgotten words",
    "word_heap": "Forgotten words do not lie on one heap",
    "neighbour_recall": "Look-alikes still find their captions",
    "neighbour_similarity": "Look-alikes keep their similarity",
    "retain_recall": "Everything else still works",
    "retain_similarity": "Everything else keeps its similarity",
    "test_recall": "Pictures never trained on are found as well as before",
    "test_similarity": "Pictures never trained on are judged as well",
}
"""Pages of certificates hold these words, and `verify` makes the pages again: change one, and all older ones fail."""

ALONE = {"forget_shape": "The forgotten pairs' similarities are distributed as those of pairs never seen"}
"""Titles for where no list stands around them; certificates do not hold these."""

SIGNALS = {"loss": "contrastive loss", "similarity": "similarity"}
"""What a membership attacker goes by."""

DIAGNOSES = {
    "effective": "The model behaves like one that never saw the data, and what was to stay has stayed.",
    "ineffective": "The model still shows traces of the data that it was to forget.",
    "over-generalised": (
        "The model forgot more than it was asked to: look-alikes suffered, or the forgotten data stands out as erased."
    ),
    "catastrophic": "What has nothing to do with the requests works worse than it would after retraining.",
}

BASES = {
    "gdpr-art17": "GDPR article 17 (right to erasure)",
    "ccpa": "CCPA (right to delete)",
    "copyright": "Copyright",
    "safety": "Safety",
    "quality": "Quality",
}


def title_of_check(name: str, alone: bool = False) -> str:
    """A check in words, with the request that it is about; one that is not known yet is shown by its name."""
    figure, _, request = name.partition(".")
    known = CHECKS | ALONE if alone else CHECKS
    title = known.get(figure, figure.replace("_", " ").capitalize())
    return f"{title} ({request})" if request else title


def headline(gate: GateResult | None, looser: Sequence[str] = ()) -> str:
    """The verdict in one sentence; `base` has none.

    Args:
        looser: limits of the gate that were set looser than the library ships them.
    """
    if gate is None:
        return "The base model: no deletion request has touched it yet."
    if gate.passed and looser:
        return "This release passed a gate that was set looser than the library ships it."
    if gate.passed:
        return "No measured figure tells this release from a model retrained without the data."
    return f"This release must not be used: {len(gate.failed)} of {len(gate.checks)} checks failed."


def explanation(gate: GateResult | None, diagnosis: str | None, looser: Sequence[str] = ()) -> str:
    """What the verdict means, in a few sentences; `looser` as in `headline`."""
    if gate is None or diagnosis is None:
        return "Every release starts from it; the figures below say how good it is before anything is forgotten."
    meaning = DIAGNOSES.get(diagnosis, f"Diagnosis: {diagnosis}.")
    if gate.reference == "estimate":
        meaning += (
            " This is by estimate: no model was retrained without the data; text towers that were retrained without it"
            " stood in."
        )
    if gate.passed and looser:
        return f"It met all {len(gate.checks)} checks as they were set, which says less than the shipped ones would."
    if gate.passed:
        return f"{meaning} It met all {len(gate.checks)} checks and may become a candidate."
    return meaning
