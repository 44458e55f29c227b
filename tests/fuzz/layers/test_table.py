import pytest

from tcomp.fuzz.campaign.examine import examine_job, make_text
from tcomp.fuzz.campaign.protocol import Job
from tcomp.fuzz.choices import RandomChoices
from tcomp.fuzz.layers.table import LAYERS, find_layers, layer_of
from tcomp.ir.errors import ParseError


def test_seeds_of_every_layer_are_told_by_their_first_word():
    layers = find_layers()
    assert [layer.name for layer in layers] == list(LAYERS)
    for layer in layers:
        seeds = [layer.make(RandomChoices(number)) for number in range(5)]
        for seed in filter(None, seeds):
            assert layer_of(str(seed), layers) is layer and layer.parse(str(seed)) == seed
            assert layer.print_script(seed, "values: add: of result", "it is 3").strip()


def test_what_is_of_no_layer_is_refused():
    with pytest.raises(ParseError, match="it is no seed"):
        layer_of("nothing", find_layers())


def test_jobs_are_made_of_the_layer_they_name():
    layers = find_layers()
    text, invalid = make_text(Job(3, "", "new", "programs"), layers)
    assert not invalid and text.startswith("program ")
    changed, invalid = make_text(Job(4, text, "calls", "programs"), layers)
    assert not invalid and changed.startswith("program ")
    finding, features = examine_job(Job(0, text), text, find_layers(("programs",), "dynamo"))
    assert finding is None and features
