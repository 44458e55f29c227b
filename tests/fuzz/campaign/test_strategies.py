"""Strategies: which seeds each asks for next, and what it asks of them."""

import pytest

from tcomp.fuzz.campaign.campaign import Budget, Campaign
from tcomp.fuzz.campaign.strategies import STRATEGIES
from tcomp.fuzz.mutators.seeds import DOMAINS
from tcomp.fuzz.oracles.cascade import ORACLES
from tests.fuzz.test_seed import make_seeds


def start(tmp_path, name):
    """A campaign that has made its first seeds, of which one reached something."""
    campaign = Campaign(tmp_path, Budget(), strategy=STRATEGIES[name])
    campaign.corpus.offer(str(make_seeds(1)[0]), [1])
    campaign.state.number = STRATEGIES[name].first
    return campaign


@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES)
def test_strategies_name_what_there_is(strategy):
    assert set(strategy.domains) <= DOMAINS.keys()
    assert set(strategy.oracles) <= {oracle.name for oracle in ORACLES}
    assert not strategy.barren or len(strategy.domains) > 1


@pytest.mark.parametrize("name", ["random", "nnsmith"])
def test_without_a_corpus_all_seeds_are_new(tmp_path, name):
    campaign = start(tmp_path, name)
    jobs = [campaign._next()[0] for _ in range(20)]
    assert {(job.text, job.domain) for job in jobs} == {("", "new")}
    assert {job.oracles for job in jobs} == {STRATEGIES[name].oracles}


def test_the_joint_strategy_changes_everything(tmp_path):
    campaign = start(tmp_path, "joint")
    assert {campaign._next()[0].domain for _ in range(200)} == DOMAINS.keys()


def test_passes_are_changed_once_cascades_reach_nothing_new(tmp_path):
    campaign = start(tmp_path, "tzer")
    domains = []
    for _ in range(10):
        domains.append(campaign._next()[1])
        campaign._barren += 1
    assert domains == ["cascade"] * 4 + ["passes"] + ["cascade"] * 3 + ["passes"] + ["cascade"]
    campaign._barren = 0
    assert campaign._next()[1] == "cascade"
