"""The zoo is ten models, each the same for the same seed."""

import pytest
import torch

from tcomp import TcompError
from tcomp.zoo import NAMES, build, describe


def run(name, **arguments):
    module, inputs = build(name, size="small", **arguments)
    with torch.no_grad():
        outputs = module(*inputs)
    return module, outputs if isinstance(outputs, tuple) else (outputs,)


def test_the_zoo_has_its_ten_models():
    expected = "mlp bert gpt2 llama resnet50 mobilenetv2 vit convnext whisper mamba"
    assert " ".join(NAMES) == expected
    assert all(describe(name) for name in NAMES)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_a_small_model_gives_finite_tensors_of_its_type(name, dtype):
    module, outputs = run(name, dtype=dtype)
    assert not module.training
    assert {parameter.dtype for parameter in module.parameters()} == {dtype}
    assert all(output.isfinite().all() for output in outputs)
    # Mamba's residual stream is float32 whatever its weights are.
    assert {output.dtype for output in outputs} == {torch.float32 if name == "mamba" else dtype}


@pytest.mark.parametrize("name", ["mlp", "llama", "convnext"])
def test_equal_seeds_give_equal_models_and_the_random_state_stays(name):
    state = torch.get_rng_state()
    first, second, other = (run(name, seed=seed)[1] for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_the_full_mlp_has_its_stated_size():
    module, inputs = build("mlp")
    assert inputs[0].shape == (64, 512)
    assert [tuple(weight.shape) for weight in module.parameters() if weight.ndim == 2] == [(2048, 512), (512, 2048)]


def test_an_unknown_size_is_refused():
    with pytest.raises(TcompError, match="'full' or 'small', not 'tiny'"):
        build("mlp", size="tiny")
