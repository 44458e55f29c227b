"""Programs of torch.export, also from .pt2 files, run as kernels, and refuse what they were not exported for."""

import io

import pytest
import torch
from compiled import make_linear, random

import tcomp
from tcomp.runtime.execution import Execution


def export(**options) -> torch.nn.Module:
    """Linear(8, 8) + ReLU, as torch.export.load gives it back."""
    file = io.BytesIO()
    torch.export.save(torch.export.export(make_linear(), (random(4, 8),), **options), file)
    file.seek(0)
    return torch.export.load(file).module()


@pytest.fixture
def calls(monkeypatch):
    """The programs that calls ran, those of torch.compile aside."""
    seen = []
    run = Execution.run

    def note(self, *args, **kwargs):
        if self.program.in_spec is not None:
            seen.append(self.program)
        return run(self, *args, **kwargs)

    monkeypatch.setattr(Execution, "run", note)
    return seen


def test_exported_programs_are_used(calls):
    module = export()
    compiled = tcomp.compile(module, (random(4, 8),), fallback="error")
    with torch.no_grad():
        for seed in range(2):
            torch.testing.assert_close(compiled(random(4, 8, seed=seed)), module(random(4, 8, seed=seed)))
    assert len(calls) == 2


def test_exported_programs_refuse_what_they_are_not_for():
    module = export()
    compiled = tcomp.compile(module, (random(4, 8),), fallback="silent")
    for x in (random(5, 8), random(4, 9)):
        with pytest.raises(Exception, match=r".") as theirs:
            module(x)
        with pytest.raises(type(theirs.value)) as ours:
            compiled(x)
        assert str(ours.value) == str(theirs.value)


def test_exported_programs_of_many_sizes(calls):
    module = export(dynamic_shapes=({0: torch.export.Dim("rows", min=2, max=6)},))
    compiled = tcomp.compile(module, (random(4, 8),), fallback="silent")
    with torch.no_grad():
        for rows in (4, 5, 6, 2):
            torch.testing.assert_close(compiled(random(rows, 8)), module(random(rows, 8)))
        assert len(calls) == 4
        with pytest.raises(AssertionError, match=r"rows|6"):
            compiled(random(7, 8))


def test_other_hooks_of_exported_programs_run():
    module = export()
    compiled = tcomp.compile(module, (random(4, 8),))
    seen = []
    module.register_forward_hook(lambda *arguments: seen.append(arguments[2].shape))
    with torch.no_grad(), pytest.warns(UserWarning, match="hooks"):
        compiled(random(4, 8))
    assert seen == [(4, 8)]
