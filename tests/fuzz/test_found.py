"""Programs that an older commit got wrong, or that are of a kind with such: the smallest ones known. None may be wrong again."""

from pathlib import Path

import pytest

from tcomp.fuzz.programs.oracle import describe_invalid, examine_program
from tcomp.fuzz.programs.program import parse_program

FOUND = sorted((Path(__file__).parent / "found").glob("*.seed"))


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_what_was_found_stays_mended(path):
    program = parse_program(path.read_text())
    assert str(program) == path.read_text() and describe_invalid(program) == ""
    finding, _ = examine_program(program)
    assert finding is None, finding
