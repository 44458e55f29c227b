"""What campaigns found stays mended: the reduced seed of every fault."""

from pathlib import Path

import pytest

from tcomp.fuzz.oracles.cascade import examine
from tcomp.fuzz.seed import parse_seed

FOUND = sorted((Path(__file__).parent / "found").glob("*.seed"))


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_nothing_is_wrong_any_more(path):
    finding, _ = examine(parse_seed(path.read_text()))
    assert finding is None, f"{finding.bucket}\n{finding.what}\n{finding.where}"


def test_there_are_some():
    assert FOUND
