"""A model that fails becomes a small cascade that fails alike."""

import torch
from click.testing import CliRunner
from torch import nn

from tcomp.cli.main import main
from tcomp.fuzz.campaign import minify as minifying
from tcomp.fuzz.campaign.minify import find_seeds, minify
from tcomp.fuzz.reducer import PLAIN


def make_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(2, 4), nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)), (torch.tensor([[0, 1, 1]]),)


def test_nothing_is_wrong(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "models.py").write_text("from tests.fuzz.campaign.test_minify import make_model\n")
    result = CliRunner().invoke(main, ["minify", "models:make_model", "--output", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "1 parts of the model were examined, 0 faults found" in result.output and not (tmp_path / "out").exists()


def test_what_is_wrong_becomes_small(tmp_path, monkeypatch):
    module, inputs = make_model()
    seeds = find_seeds(module, inputs, PLAIN, {})
    assert len(seeds) == 1 and seeds[0].numbers == 0
    worker = minifying.Worker
    monkeypatch.setattr(minifying, "Worker", lambda limit, megabytes: worker(limit, megabytes, "a view is read at its own places"))
    faults = minify(seeds, tmp_path, 60, 120, 4096)
    assert faults and all(fault.finding.guilty == "inline_views" for fault in faults)
    assert all(len(fault.seed.split("cascade ")[1].splitlines()) <= 5 and fault.path.exists() for fault in faults)
