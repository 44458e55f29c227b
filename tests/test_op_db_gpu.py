"""The first float32 sample of every operator of op_db, its kernels run in Triton's interpreter and compared with eager.

`python -m tests.op_db_report --interpret` does the same with all samples.
"""

import pytest

pytest.importorskip("triton")

from tests.op_db_batch import Manner
from tests.op_db_report import Report, examine
from tests.op_db_samples import find_entries, find_samples

PARTS = 12
"""Parts of the database, to share among processes."""


@pytest.mark.parametrize("part", range(PARTS))
def test_first_samples(part):
    report = Report()
    samples = [sample for entry in find_entries()[part::PARTS] for sample in find_samples(entry, 1) if "[float32]" in sample.name]
    for outcome in examine(samples, Manner(is_interpreted=True)):
        report.add(outcome)
    assert report.core.lowered > 0
    assert report.wrong == []
