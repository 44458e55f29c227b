"""The first sample of every operator of op_db in every dtype, compiled and compared with eager.

`python -m tests.op_db_report` does the same with all samples.
"""

import pytest

from tcomp.settings import read_settings
from tests.op_db_batch import Manner
from tests.op_db_report import MANNER, Outcome, Report, examine
from tests.op_db_samples import find_entries, find_samples

PARTS = 24
"""Parts of the database, each in one batch: small enough to share among processes, large enough to keep the C compiler busy."""


@pytest.mark.parametrize("part", range(PARTS))
def test_first_samples(part):
    report = Report()
    # Checks of kernels are for what the optimiser does to them too.
    manner = Manner() if read_settings().checks_kernels else MANNER
    for outcome in examine([sample for entry in find_entries()[part::PARTS] for sample in find_samples(entry, 1)], manner):
        report.add(outcome)
    assert report.core.samples > 0
    assert report.wrong == []
    assert all(known(outcome) for outcome in report.outcomes if outcome.missing and not outcome.foreign)


def known(outcome: Outcome) -> bool:
    """Whether a sample of core operators runs in eager for a reason that stands in the README."""
    return all(text.startswith(("aten.nonzero.default", "aten.sort.default", "aten.as_strided.default")) for text in outcome.missing)
