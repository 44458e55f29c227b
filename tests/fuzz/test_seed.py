"""Seeds as text."""

import pytest

from tcomp.fuzz.choices import RandomChoices
from tcomp.fuzz.generators.seeds import make_seed
from tcomp.fuzz.mutators.seeds import DOMAINS
from tcomp.fuzz.oracles.cascade import describe_invalid
from tcomp.fuzz.seed import parse_seed
from tcomp.ir.errors import ParseError


def make_seeds(count, first=0):
    """Seeds by number; what was too large, or is wrong for some size that it says, left out."""
    found = (make_seed(RandomChoices(number)) for number in range(first, first + count))
    return [seed for seed in found if seed is not None and not describe_invalid(seed)]


def test_text_and_seed_are_inverses():
    seeds = make_seeds(40)
    seeds += [DOMAINS["schedule"](RandomChoices(1), seed) for seed in seeds[:10]]
    assert all(any(getattr(seed, part) for seed in seeds) for part in ("schedule", "passes", "strict", "sizes"))
    for seed in seeds:
        assert parse_seed(str(seed)) == seed


def test_seeds_follow_from_their_numbers():
    assert make_seeds(10) == make_seeds(10) != make_seeds(10, 100)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "it has no cascade"),
        ("numbers many\n", "it has no cascade"),
        ("colour blue\n", "'colour' is no word of a seed"),
        (f"sizes N\n{make_seeds(1)[0]}", "'N' is no size"),
        (str(make_seeds(1)[0]) + str(make_seeds(1)[0].cascade), "it is no seed"),
    ],
)
def test_what_is_no_seed(text, what):
    with pytest.raises(ParseError, match=what):
        parse_seed(text)
