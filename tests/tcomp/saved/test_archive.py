"""Saved programs load without tracing, and refuse what they were not made for."""

import copy
import json
import subprocess
import sys

import numpy
import pytest
import torch
from compiled import Function, check, check_same, make_linear, random
from saved_files import forbid_compiling, rewrite
from torch import nn

import tcomp
from tcomp.ir.expressions import as_index
from tcomp.program.sizes import Combination, Comparison
from tcomp.saved import archive as saved
from tcomp.saved.values import read_condition, read_result, read_value, write_condition, write_value


@pytest.fixture
def path(tmp_path):
    return tmp_path / "program.tcomp"


def save(module, path, *inputs, **options):
    tcomp.compile(module, inputs, **options).save(path)


@pytest.mark.parametrize(
    ("module", "inputs"),
    [
        (make_linear(), (random(4, 8),)),
        (Function(lambda x, n: {"y": (x * n).t(), "x": x, "n": n, "z": [x.add_(1)]}), (random(3, 4), 2.5)),
        (nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)).requires_grad_(False), (random(4, 2, 5, 5),)),
        (Function(lambda x: torch.tensor([1.0, 2.0, 3.0]) * x), (random(3),)),
    ],
)
def test_a_loaded_program_computes_the_same(module, inputs, path, monkeypatch):
    save(module, path, *inputs)
    forbid_compiling(monkeypatch)
    other = copy.deepcopy(module)
    check(other, *inputs, compiled=tcomp.load(path, other))


def test_a_loaded_program_follows_the_weights_of_its_module(path):
    save(make_linear(), path, random(4, 8))
    module = make_linear()
    loaded = tcomp.load(path, module)
    module[0].weight.mul_(2)
    check(module, random(4, 8), compiled=loaded)


def test_a_loaded_program_serves_symbolic_sizes(path):
    save(make_linear(), path, random(4, 8), dynamic=True)
    loaded = tcomp.load(path, make_linear())
    for rows in (2, 7):
        check(make_linear(), random(rows, 8), compiled=loaded)
    assert len(loaded.programs) == 1


def test_a_loaded_program_compiles_for_what_it_does_not_serve(path):
    save(make_linear(), path, random(4, 8))
    check(make_linear(), random(5, 8), compiled=tcomp.load(path, make_linear()))


def test_a_loaded_program_explains_itself(path):
    compiled = tcomp.compile(make_linear(), (random(4, 8),))
    compiled.save(path)
    loaded = tcomp.load(path, make_linear())
    assert (loaded.cascade, loaded.schedule, loaded.kernels) == (compiled.cascade, compiled.schedule, compiled.kernels)
    assert tcomp.explain(loaded, sources=True) == tcomp.explain(compiled, sources=True)


def test_loading_works_in_another_process_without_the_cache(path, tmp_path):
    save(make_linear(), path, random(4, 8))
    program = (
        "import sys, torch, tcomp; from compiled import make_linear, random\n"
        "loaded = tcomp.load(sys.argv[1], make_linear())\n"
        "torch.testing.assert_close(loaded(random(4, 8)), make_linear()(random(4, 8)))\n"
    )
    here = str((tmp_path / "cache").absolute())
    environment = {"PYTHONPATH": ":".join(sys.path), "TCOMP_CACHE_DIR": here, "PATH": "/nowhere", "CC": "/nowhere/cc"}
    subprocess.run([sys.executable, "-c", program, str(path)], check=True, env=environment)


def test_modules_of_another_kind_are_refused(path):
    save(make_linear(), path, random(4, 8))
    for module, what in (
        (nn.Sequential(nn.Linear(8, 8), nn.Tanh()), "another module"),
        (nn.Sequential(nn.Linear(8, 8)), "another module"),
        (nn.Sequential(nn.Linear(8, 9), nn.ReLU()), "out_features = 9"),
        (make_linear().double(), "expects"),
    ):
        with pytest.raises(tcomp.RecordError, match=what) as caught:
            tcomp.load(path, module)
        assert str(path) in caught.value.where


def set_version(manifest, files):
    manifest["tcomp"] = "0.0.0"


def set_torch(manifest, files):
    manifest["runtime"] = "PyTorch 1.0 on Python 3.1"


def leave_folder(manifest, files):
    manifest["programs"][0]["stages"][0]["main"]["file"] = "../../evil.so"


def set_isa(manifest, files):
    manifest["isa"] += " sve9"


def drop_slots(manifest, files):
    del manifest["programs"][0]["slots"]


def spoil_library(manifest, files):
    for name in files:
        if name.endswith(".so"):
            files[name] = files[name][:-1] + b"?"


def spoil_size(manifest, files):
    manifest["programs"][0]["stages"][0]["main"]["arena"] = "4 +"


@pytest.mark.parametrize(
    ("change", "what"),
    [(set_version, "0.0.0"), (set_torch, "PyTorch 1.0"), (leave_folder, "can be read"),
     (set_isa, "sve9"), (drop_slots, "can be read"), (spoil_library, "can be read"), (spoil_size, "can be read")],
)  # fmt: skip
def test_files_that_do_not_fit_are_refused(change, what, path, monkeypatch, tmp_path):
    save(make_linear(), path, random(4, 8))
    monkeypatch.setenv("TCOMP_CACHE_DIR", str(tmp_path / "empty"))
    rewrite(path, change)
    with pytest.raises(tcomp.RecordError, match=what) as caught:
        tcomp.load(path, make_linear())
    assert str(path) in caught.value.where
    assert caught.value.help


class Scaled(nn.Module):
    def __init__(self, factor, twice=False):
        super().__init__()
        self.settings = {"factor": factor}
        self.step = (lambda x: x * 2) if twice else (lambda x: x * 3)

    def forward(self, x):
        return self.step(x * self.settings["factor"])


@pytest.mark.parametrize(
    ("module", "other"),
    [
        (nn.LayerNorm(8), nn.LayerNorm(8, eps=1.0)),
        (nn.Softmax(0), nn.Softmax(1)),
        (nn.LeakyReLU(0.1), nn.LeakyReLU(0.9)),
        (Scaled(2.0), Scaled(3.0)),
        (Scaled(2.0), Scaled(2.0, twice=True)),
        (Function(lambda x: x + 1.0), Function(lambda x: x + 2.0)),
    ],
)
def test_a_module_that_computes_something_else_is_refused(module, other, path):
    save(module.requires_grad_(False), path, random(4, 8))
    tcomp.load(path, copy.deepcopy(module))
    with pytest.raises(tcomp.RecordError, match="another module"):
        tcomp.load(path, other)


def test_random_damage_is_refused(path):
    save(make_linear(), path, random(4, 8))
    whole, draw = path.read_bytes(), numpy.random.default_rng(0)
    for _ in range(60):
        data = bytearray(whole)
        if draw.random() < 0.3:
            data = data[: draw.integers(len(data))]
        for place in draw.integers(len(data), size=3) if data else ():
            data[place] ^= 1 << draw.integers(8)
        path.write_bytes(data)
        try:
            loaded = tcomp.load(path, make_linear())
        except tcomp.RecordError:
            continue
        # Dates and the like in the archive's own headers mean nothing.
        check(make_linear(), random(4, 8), compiled=loaded)


def test_truncated_and_missing_files_are_refused(path):
    with pytest.raises(tcomp.RecordError):
        tcomp.load(path, make_linear())
    save(make_linear(), path, random(4, 8))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(tcomp.RecordError):
        tcomp.load(path, make_linear())


def test_what_cannot_be_saved_is_one_clear_error(path, tmp_path):
    with pytest.raises(tcomp.TcompError, match="nothing has been compiled"):
        tcomp.compile(make_linear()).save(path)
    left = tcomp.compile(Function(torch.linalg.matrix_exp), (random(3, 3),), fallback="silent")
    with pytest.raises(tcomp.Unsupported, match="matrix_exp"):
        left.save(path)
    assert not path.exists()
    with pytest.raises(tcomp.TcompError, match="cannot be written"):
        save(make_linear(), tmp_path / "nowhere" / "x", random(4, 8))


def test_a_failed_save_leaves_the_old_file(path, monkeypatch):
    save(make_linear(), path, random(4, 8))
    before = path.read_bytes()

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saved.os, "replace", fail)
    with pytest.raises(tcomp.TcompError, match="No space left"):
        save(make_linear(), path, random(4, 8))
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    "value",
    [None, True, 3, 2.5, float("inf"), 1 + 2j, "text", b"bytes", slice(1, None, 2), torch.float32, torch.strided,
     torch.contiguous_format, torch.device("cpu"), as_index("s0") * 2 + 1, torch.ops.aten.view.default, [1, (2, 3)], {"a": [1.5]}],
    ids=str,
)  # fmt: skip
def test_values_survive(value):
    read = read_value(json.loads(json.dumps(write_value(value))))
    assert type(read) is type(value)
    assert read == value


def test_values_that_have_no_form_are_refused():
    with pytest.raises(tcomp.Unsupported, match="cannot be stored"):
        write_value(object())
    for read in (read_value, read_result, read_condition):
        with pytest.raises(tcomp.RecordError):
            read({"exec": "print()"})
    with pytest.raises(tcomp.RecordError, match="no dtype"):
        read_value({"dtype": "Tensor"})


def test_conditions_survive():
    parts = Comparison("<", as_index("s0"), as_index(4)), Combination("not", (Comparison("==", as_index(1), as_index("s1")),))
    condition = Combination("or", parts)
    assert read_condition(json.loads(json.dumps(write_condition(condition)))) == condition


def test_results_are_the_same_after_a_round_trip(path):
    compiled = tcomp.compile(make_linear(), (random(4, 8),))
    compiled.save(path)
    check_same(tcomp.load(path, make_linear())(random(4, 8)), compiled(random(4, 8)))
