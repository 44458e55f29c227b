"""The compilers that `tcomp bench` compares: one small function each, from a module to something to call.

A peer prepares a module for its example inputs, compiling all it would compile on a first call, and returns a function
of the same inputs. It may raise whatever it likes: that becomes a row of the table.
"""

import importlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import tcomp
from tcomp.ir.errors import TcompError
from tcomp.machine.devices import find_device, list_tensors
from tcomp.settings import override_environment

Inputs = tuple[Any, ...]
Call = Callable[..., object]
Prepare = Callable[[nn.Module, Inputs], Call]


def find_peers(names: str) -> dict[str, Prepare]:
    """Return the peers of a comma-separated list, in its order.

    Raises TcompError for an unknown name, listing those that are known.
    """
    peers = {}
    for name in (part.strip() for part in names.split(",")):
        if name not in PEERS:
            raise TcompError(f"there is no peer {name!r} to compare with", help=f"peers are: {', '.join(PEERS)}")
        peers[name] = PEERS[name]
    return peers


@contextmanager
def empty_caches() -> Iterator[None]:
    """Give tcomp and Inductor empty caches for a while, so that compile times are those of a first compilation."""
    with tempfile.TemporaryDirectory(prefix="tcomp-bench-", ignore_cleanup_errors=True) as folder:
        caches = {"TCOMP_CACHE_DIR": f"{folder}/tcomp", "TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor"}
        with override_environment(caches):
            torch._dynamo.reset()
            yield
            torch._dynamo.reset()


def make_tcomp(options: Mapping[str, Any]) -> Prepare:
    """Return tcomp itself as a peer, with the keyword arguments of `tcomp.compile`."""

    def prepare(module: nn.Module, inputs: Inputs) -> Call:
        compiled: Call = tcomp.compile(module, inputs, **options)
        return compiled

    return prepare


def prepare_eager(module: nn.Module, inputs: Inputs) -> Call:
    """PyTorch without a compiler."""
    return module


def prepare_inductor(module: nn.Module, inputs: Inputs) -> Call:
    """PyTorch's own compiler, as torch.compile uses it by default."""
    compiled = torch.compile(module, dynamic=False)
    compiled(*inputs)
    return compiled


def prepare_inductor_max(module: nn.Module, inputs: Inputs) -> Call:
    """PyTorch's own compiler with autotuned matrix products, weights frozen into constants, and on a GPU recorded kernels."""
    options: dict[str, str | int | bool | Callable[..., Any]] = {"max_autotune": True, "freezing": True}
    if find_kind(module, inputs) == "cuda":
        options["triton.cudagraphs"] = True
    compiled = torch.compile(module, dynamic=False, options=options)
    compiled(*inputs)
    return compiled


def prepare_openvino(module: nn.Module, inputs: Inputs) -> Call:
    """OpenVINO on the CPU, at the model's precision and with as many threads as PyTorch."""
    openvino = _import_extra("openvino")
    _check_on_cpu(module, inputs, "OpenVINO")
    dtype = _find_dtype(module)
    precision = {torch.float32: "f32", torch.float16: "f16"}.get(dtype)
    if precision is None:
        raise TcompError(f"{dtype} tensors cannot be handed to OpenVINO through numpy")
    model = openvino.convert_model(module, example_input=inputs)
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()

    def call(*arguments: Tensor) -> object:
        results = request.infer([argument.numpy() for argument in arguments], share_inputs=True, share_outputs=True)
        return tuple(torch.from_numpy(value) for value in results.values())

    call(*inputs)
    return call


def prepare_onnxruntime(module: nn.Module, inputs: Inputs) -> Call:
    """ONNX Runtime on the CPU, from PyTorch's exporter, with as many threads as PyTorch."""
    onnxruntime = _import_extra("onnxruntime")
    _import_extra("onnxscript")
    _check_on_cpu(module, inputs, "ONNX Runtime")
    if _find_dtype(module) not in (torch.float32, torch.float16):
        raise TcompError(f"{_find_dtype(module)} tensors cannot be handed to ONNX Runtime through numpy")
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory(prefix="tcomp-bench-") as folder:
        path = Path(folder, "model.onnx")
        torch.onnx.export(module, inputs, path, dynamo=True, verbose=False)
        session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]

    def call(*arguments: Tensor) -> object:
        feeds = {name: argument.numpy() for name, argument in zip(names, arguments, strict=True)}
        return tuple(torch.from_numpy(value) for value in session.run(None, feeds))

    call(*inputs)
    return call


def find_kind(module: nn.Module, inputs: Inputs) -> str:
    """The kind of device that a module and its inputs are on."""
    return find_device(list_tensors(module, tree_leaves(inputs))).type


def _check_on_cpu(module: nn.Module, inputs: Inputs, peer: str) -> None:
    kind = find_kind(module, inputs)
    if kind != "cpu":
        raise TcompError(f"{peer} is measured on the CPU, and the model is on {kind}")


def _import_extra(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise TcompError(f"{name} is not installed", where=str(error), help="pip install 'tcomp[bench]'") from error


def _find_dtype(module: nn.Module) -> torch.dtype:
    dtypes = (parameter.dtype for parameter in module.parameters() if parameter.is_floating_point())
    return next(dtypes, torch.float32)


PEERS: Mapping[str, Prepare] = {
    "eager": prepare_eager,
    "inductor": prepare_inductor,
    "inductor-max": prepare_inductor_max,
    "openvino": prepare_openvino,
    "onnxruntime": prepare_onnxruntime,
}

FOREIGN = ("openvino", "onnxruntime")
"""Peers that do not take their memory from PyTorch."""
