"""What campaigns found stays mended: the reduced seed of every fault, and the smallest programs of kinds that an older commit got wrong."""

from pathlib import Path

import pytest

from tcomp.fuzz.layers.table import find_layers, layer_of

FOUND = sorted((Path(__file__).parent / "found").glob("*.seed"))
FAULTY = sorted((Path(__file__).parent / "faulty").glob("*.seed"))


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_nothing_is_wrong_any_more(path):
    layer = layer_of(path.read_text(), find_layers())
    seed = layer.parse(path.read_text())
    assert layer.describe_invalid(seed) == ""
    finding, _ = layer.examine(seed, True)
    assert finding is None, f"{finding.bucket}\n{finding.what}\n{finding.where}"


def test_there_are_some_of_every_layer():
    assert {layer_of(path.read_text(), find_layers()).name for path in FOUND} == {"cascades", "programs"}


@pytest.mark.xfail(strict=True, reason="found and not mended yet: whoever mends one moves it to found/")
@pytest.mark.parametrize("path", FAULTY, ids=lambda path: path.stem)
def test_what_is_wrong_still(path):
    layer = layer_of(path.read_text(), find_layers())
    finding, _ = layer.examine(layer.parse(path.read_text()), True)
    assert finding is None, finding
