"""Models are found by name, and what is not found is explained."""

import sys

import pytest
import torch

from tcomp import TcompError
from tcomp.cli import models
from tcomp.cli.models import expand_specs, load_model
from tcomp.zoo import NAMES

FACTORIES = """
import torch
def good():
    return torch.nn.Linear(3, 2), (torch.ones(1, 3),)
def single():
    return torch.nn.Linear(3, 2), torch.ones(1, 3)
def wrong():
    return torch.nn.Linear(3, 2)
def broken():
    raise ValueError("no weights here")
number = 3
"""


@pytest.fixture
def factories(tmp_path, monkeypatch):
    (tmp_path / "user_models.py").write_text(FACTORIES)
    (tmp_path / "user_broken.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("user_models", None)


@pytest.mark.usefixtures("factories")
@pytest.mark.parametrize("name", ["good", "single"])
def test_a_factory_gives_module_and_inputs(name):
    module, inputs = load_model(f"user_models:{name}", torch.bfloat16)
    assert module(*inputs).dtype == torch.bfloat16
    assert len(inputs) == 1


@pytest.mark.usefixtures("factories")
@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("bert", "'bert' names no model"),
        ("zoo:brt", "the zoo has no model 'brt'"),
        ("zoo:mlp:tiny", "'full' or 'small', not 'tiny'"),
        ("missing_package.module:f", "cannot import missing_package.module"),
        (
            "user_broken:f",
            r"importing user_broken failed: ZeroDivisionError[^\n]*\n  where: [^\n]*user_broken.py:1: 1 / 0",
        ),
        ("user_models:other", "user_models has no function 'other'"),
        ("user_models:number", "user_models has no function 'number'"),
        ("user_models:wrong", "the factory returned Linear, not"),
        ("user_models:broken", r"failed: ValueError\('no weights here'\)\n  where: .*user_models.py:10: raise"),
        ("missing.pt2", "there is no file missing.pt2"),
    ],
)
def test_a_bad_specification_is_explained(spec, says):
    with pytest.raises(TcompError, match=says):
        load_model(spec)


def test_a_zoo_model_comes_in_two_sizes():
    assert load_model("zoo:mlp")[1][0].shape == (64, 512)
    module, inputs = load_model("zoo:mlp:small", torch.float64)
    assert inputs[0].shape == (8, 32)
    assert module(*inputs).dtype == torch.float64


def test_an_unknown_zoo_model_lists_the_known_ones():
    with pytest.raises(TcompError) as caught:
        load_model("zoo:brt")
    assert all(name in caught.value.help for name in NAMES)


def test_missing_transformers_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(TcompError) as caught:
        load_model("zoo:bert")
    assert caught.value.help == "pip install 'tcomp[zoo]'"


def test_an_exported_program_is_loaded_with_its_inputs(tmp_path):
    module, inputs = torch.nn.Linear(3, 2), (torch.ones(1, 3),)
    path = tmp_path / "linear.pt2"
    torch.export.save(torch.export.export(module, inputs), path)
    loaded, given = load_model(str(path))
    torch.testing.assert_close(loaded(*given), module(*inputs))


class Scaled(torch.nn.Module):
    def forward(self, x, *, factor):
        return x * factor


def test_an_exported_program_with_keyword_inputs_is_refused(tmp_path):
    program = torch.export.export(Scaled(), (torch.ones(2),), {"factor": torch.ones(2)})
    torch.export.save(program, tmp_path / "scaled.pt2")
    with pytest.raises(TcompError, match="keyword inputs factor"):
        load_model(str(tmp_path / "scaled.pt2"))


def test_an_exported_program_without_inputs_is_refused(tmp_path, monkeypatch):
    program = torch.export.export(torch.nn.Linear(3, 2), (torch.ones(1, 3),))
    monkeypatch.setattr(type(program), "example_inputs", property(lambda self: None))
    monkeypatch.setattr(models.torch.export, "load", lambda path: program)
    (tmp_path / "linear.pt2").write_bytes(b"")
    with pytest.raises(TcompError, match="holds no example inputs"):
        load_model(str(tmp_path / "linear.pt2"))


def test_a_file_that_is_no_program_is_refused(tmp_path):
    (tmp_path / "noise.pt2").write_bytes(b"noise")
    with pytest.raises(TcompError, match="does not hold an exported program"):
        load_model(str(tmp_path / "noise.pt2"))


def test_lists_of_models_are_expanded_once_each():
    assert expand_specs("zoo:all") == tuple(f"zoo:{name}" for name in NAMES)
    assert expand_specs("zoo:bert, a.b:c,zoo:bert") == ("zoo:bert", "a.b:c")
    with pytest.raises(TcompError, match="no model was named"):
        expand_specs(" , ")


def test_models_move_with_their_inputs(monkeypatch):
    model = torch.nn.Linear(3, 2), ({"x": torch.ones(1, 3)}, 4)
    assert models.move_model(model, None) is model
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(TcompError, match="no CUDA device") as caught:
        models.move_model(model, "cuda")
    assert "tcomp doctor" in caught.value.help
    module, (inputs, number) = models.move_model(model, "cpu")
    assert (module.weight.device.type, inputs["x"].device.type, number) == ("cpu", "cpu", 4)
