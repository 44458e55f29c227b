"""Cascades, with the machine they are compiled for, passes and schedules."""

from __future__ import annotations

from tcomp.fuzz.finding import Finding
from tcomp.fuzz.generators.seeds import make_seed
from tcomp.fuzz.layer import Layer
from tcomp.fuzz.mutators.seeds import DOMAINS
from tcomp.fuzz.oracles.cascade import ORACLES, describe_invalid, examine
from tcomp.fuzz.reducer import list_smaller
from tcomp.fuzz.seed import Seed, parse_seed

SCRIPT = '''"""{bucket}

{what}
"""
from tcomp.fuzz.oracles.cascade import examine
from tcomp.fuzz.seed import parse_seed

SEED = r"""
{seed}"""
finding, _ = examine(parse_seed(SEED.lstrip()))
print(finding.what if finding else "nothing is wrong", finding.where if finding else "", sep="\\n")
'''


def examine_some(seed: Seed, is_native: bool, names: tuple[str, ...] = ()) -> tuple[Finding | None, frozenset[str]]:
    """What the oracles say: those of some names, or all; those that compile C if they are asked to."""
    return examine(seed, tuple(o for o in ORACLES if (o.name in names or not names) and (is_native or not o.is_slow)))


def print_script(seed: Seed, bucket: str, what: str) -> str:
    """A script that asks the oracles again."""
    return SCRIPT.format(bucket=bucket, what=what, seed=seed)


LAYER = Layer(
    "cascades", "numbers", 20, parse_seed, make_seed, DOMAINS, describe_invalid, examine_some, list_smaller, print_script
)  # fmt: skip
