"""What a worker does with a job: the seed of it, and what the oracles say."""

from __future__ import annotations

from tcomp.fuzz.campaign.protocol import Job
from tcomp.fuzz.choices import RandomChoices
from tcomp.fuzz.finding import Finding
from tcomp.fuzz.generators.seeds import make_seed
from tcomp.fuzz.mutators.seeds import DOMAINS
from tcomp.fuzz.oracles.cascade import ORACLES, describe_failure, describe_invalid, examine
from tcomp.fuzz.seed import parse_seed

ATTEMPTS = 5
"""Changes that are tried before a job is given up as invalid."""


def make_text(job: Job) -> tuple[str, str]:
    """The text of the seed that a job is about, and why it is invalid, if it is."""
    if not job.domain:
        return job.text, ""
    reason = ""
    for attempt in range(ATTEMPTS):
        choices = RandomChoices(job.number * ATTEMPTS + attempt)
        try:
            seed = DOMAINS[job.domain](choices, parse_seed(job.text)) if job.text else make_seed(choices)
        # A schedule cannot be guessed, or a mutator meets what it did not think of: that is for the examination of the parent.
        except Exception as error:  # noqa: BLE001
            reason = describe_failure(error)
            continue
        if seed is None:
            reason = "too large"
            continue
        reason = describe_invalid(seed)
        if not reason:
            return str(seed), ""
    return job.text, reason


def examine_job(job: Job, text: str) -> tuple[Finding | None, frozenset[str]]:
    """What the oracles say of the seed of a text."""
    wanted = job.oracles or tuple(oracle.name for oracle in ORACLES)
    return examine(parse_seed(text), tuple(o for o in ORACLES if o.name in wanted and (job.is_native or o.every == 1)))
