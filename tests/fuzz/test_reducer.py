"""The reducer ends at what is needed, and keeps the bucket."""

from dataclasses import replace

from tcomp.fuzz.oracles import cascade as oracles
from tcomp.fuzz.oracles.cascade import describe_invalid, examine
from tcomp.fuzz.reducer import list_smaller, reduce_seed
from tcomp.ir.walk import walk
from tests.fuzz.oracles.test_cascade import QUICK, add_one
from tests.fuzz.test_seed import make_seeds


def has_tanh(seed):
    return any("tanh" in str(node) for e in seed.cascade.einsums() for node in walk(e.expression)) and not describe_invalid(seed)


def test_what_is_not_needed_goes():
    seeds = [seed for seed in make_seeds(60) if has_tanh(seed)][:4]
    assert seeds
    for seed in seeds:
        small = reduce_seed(seed, has_tanh, 20)
        assert has_tanh(small)
        assert len(list(small.cascade.einsums())) == 1 and small.passes == () and small.schedule is None
        assert "tanh" in str(small) and len(str(small.cascade).splitlines()) == 3


def test_the_bucket_stays(monkeypatch):
    monkeypatch.setitem(oracles.REWRITES, "simplify", add_one)
    for seed in make_seeds(10, 40):
        seed = replace(seed, passes=("drop_dead", "simplify", "reroll"))
        finding, _ = examine(seed, QUICK)
        if finding is None or finding.oracle != "evaluator":
            continue

        def fails(candidate, bucket=finding.bucket):
            found, _ = examine(candidate, QUICK)
            return found is not None and found.bucket == bucket

        small = reduce_seed(seed, fails, 20)
        assert small.passes == ("simplify",)
        assert len(list(small.cascade.einsums())) <= 2
        return
    raise AssertionError("nothing was found")


def test_candidates_are_other_seeds():
    (seed,) = make_seeds(1, 3)
    candidates = list(list_smaller(seed))
    assert candidates and all(candidate != seed for candidate in candidates)
