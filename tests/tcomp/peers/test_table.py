"""Peers are found by name, prepared for the same inputs, and compiled into caches of their own."""

import os
import sys
from pathlib import Path

import pytest
import torch

import tcomp
from tcomp.peers import table as peers
from tcomp.peers.table import PEERS, empty_caches, find_peers, make_tcomp
from tcomp.reference import list_tensors
from tcomp.settings import read_settings


@pytest.fixture
def model():
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4)).eval()
    return module, (torch.randn(3, 8),)


def test_peers_are_found_in_the_order_asked():
    assert list(find_peers("inductor, eager")) == ["inductor", "eager"]
    with pytest.raises(tcomp.TcompError, match="no peer 'tvm'") as caught:
        find_peers("eager,tvm")
    assert all(name in caught.value.help for name in PEERS)


@pytest.mark.parametrize("name", ["eager", "inductor", "openvino", "onnxruntime"])
def test_a_peer_computes_what_eager_does(name, model):
    if name in ("openvino", "onnxruntime"):
        pytest.importorskip(name)
    module, inputs = model
    with torch.no_grad(), empty_caches():
        call = PEERS[name](module, inputs)
        torch.testing.assert_close(list_tensors(call(*inputs)), list_tensors(module(*inputs)))


def test_inductor_max_asks_for_autotuning_and_frozen_weights(monkeypatch, model):
    asked = {}

    def fake_compile(module, **options):
        asked.update(options)
        return module

    monkeypatch.setattr(torch, "compile", fake_compile)
    peers.prepare_inductor_max(*model)
    assert asked == {"dynamic": False, "options": {"max_autotune": True, "freezing": True}}


def test_inductor_max_records_its_kernels_on_a_gpu(monkeypatch, model):
    asked = {}
    monkeypatch.setattr(torch, "compile", lambda module, **options: asked.update(options) or module)
    monkeypatch.setattr(peers, "find_kind", lambda module, inputs: "cuda")
    peers.prepare_inductor_max(*model)
    assert asked["options"] == {"max_autotune": True, "freezing": True, "triton.cudagraphs": True}


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_peers_of_the_cpu_say_so(monkeypatch, name, model):
    monkeypatch.setattr(peers, "_import_extra", lambda name: None)
    monkeypatch.setattr(peers, "find_kind", lambda module, inputs: "cuda")
    with pytest.raises(tcomp.TcompError, match="measured on the CPU, and the model is on cuda"):
        PEERS[name](*model)


def test_the_kind_of_device_is_that_of_module_and_inputs(model):
    module, inputs = model
    assert peers.find_kind(module, inputs) == "cpu"
    assert peers.find_kind(torch.nn.ReLU(), ({"x": torch.ones(2)},)) == "cpu"


def test_tcomp_is_called_with_its_options(monkeypatch, model):
    monkeypatch.setattr(tcomp, "compile", lambda *given, **options: (given, options), raising=False)
    module, inputs = model
    assert make_tcomp({"numerics": "strict"})(module, inputs) == ((module, inputs), {"numerics": "strict"})


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_a_missing_extra_is_named(monkeypatch, name, model):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(tcomp.TcompError, match=f"{name} is not installed") as caught:
        PEERS[name](*model)
    assert caught.value.help == "pip install 'tcomp[bench]'"


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_bfloat16_cannot_go_through_numpy(monkeypatch, name, model):
    monkeypatch.setattr(peers, "_import_extra", lambda name: None)
    with pytest.raises(tcomp.TcompError, match="bfloat16 tensors cannot be handed"):
        PEERS[name](model[0].bfloat16(), model[1])


def test_caches_are_empty_for_a_while(monkeypatch, tmp_path):
    monkeypatch.setenv("TCOMP_CACHE_DIR", str(tmp_path))
    with empty_caches():
        inside = read_settings().cache_dir
        assert inside != tmp_path
        assert not inside.exists()
        assert Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]).parent == inside.parent
    assert read_settings().cache_dir == tmp_path
    assert not inside.parent.exists()
