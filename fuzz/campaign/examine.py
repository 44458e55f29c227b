"""What a worker does with a job: the seed of it, and what the oracles say."""

from __future__ import annotations

from tcomp.fuzz.campaign.protocol import Job
from tcomp.fuzz.choices import RandomChoices
from tcomp.fuzz.finding import Finding, describe_failure
from tcomp.fuzz.layer import Layer
from tcomp.fuzz.layers.table import layer_of

ATTEMPTS = 5
"""Changes that are tried before a job is given up as invalid."""


def make_text(job: Job, layers: tuple[Layer, ...]) -> tuple[str, str]:
    """The text of the seed that a job is about, and why it is invalid, if it is."""
    if not job.domain:
        return job.text, ""
    reason = ""
    layer = layer_of(job.text, layers) if job.text else next(layer for layer in layers if layer.name == job.layer)
    for attempt in range(ATTEMPTS):
        choices = RandomChoices(job.number * ATTEMPTS + attempt)
        try:
            seed = layer.domains[job.domain](choices, layer.parse(job.text)) if job.text else layer.make(choices)
        # A schedule cannot be guessed, or a mutator meets what it did not think of: that is for the examination of the parent.
        except Exception as error:  # noqa: BLE001
            reason = describe_failure(error)
            continue
        if seed is None:
            reason = "too large"
            continue
        reason = layer.describe_invalid(seed)
        if not reason:
            return str(seed), ""
    return job.text, reason


def examine_job(job: Job, text: str, layers: tuple[Layer, ...]) -> tuple[Finding | None, frozenset[str]]:
    """What the oracles say of the seed of a text."""
    layer = layer_of(text, layers)
    try:
        seed = layer.parse(text)
    # It was printed by a seed.
    except Exception as error:  # noqa: BLE001
        return Finding("text", f"parse {layer.word or layer.name}", describe_failure(error), text), frozenset()
    return layer.examine(seed, job.is_native, job.oracles)
