"""Writes `traces.txt`: `python -m tcomp.fuzz.programs.harvest`.

Takes samples of the operators of PyTorch's operator database that are functions of tensors, numbers and lists of these, and that give a
tensor or a tuple of tensors which is the same each time.
"""

from __future__ import annotations

import random
import re
import warnings
from typing import Any

import torch
from torch import Tensor
from torch.testing._internal.common_methods_invocations import op_db

from tcomp.fuzz.programs.inferred import TRACES
from tcomp.fuzz.programs.program import Spec, parse_spec
from tcomp.fuzz.programs.run import make_tensor

SAMPLES = 6
"""Kept of each operator, spread over those there are."""
LARGEST = 1 << 12
UNDEFINED = """bucketize searchsorted ormqr geqrf lu_solve lu_unpack ldl_solve householder unpool segment_reduce ctc_loss unsafe""".split()  # noqa: SIM905
"""What means something for sorted numbers, or for pivots and places that another operator made, only; some write anywhere otherwise."""
RANDOM = """rand normal dropout bernoulli multinomial exponential cauchy geometric uniform empty rrelu poisson""".split()  # noqa: SIM905


class Unfit(Exception):  # noqa: N818 (nothing is wrong)
    """A sample cannot be written as a line."""


def main() -> None:
    """Write the file."""
    warnings.simplefilter("ignore")
    lines: list[str] = []
    for entry in op_db:
        if not any(word in entry.name for word in (*RANDOM, *UNDEFINED)):
            lines.extend(find_lines(entry))
    TRACES.write_text("".join(f"{line}\n" for line in dict.fromkeys(lines)))


def find_lines(entry: Any) -> list[str]:
    """Invocations of an operator, in float32, or in integers where it has no floats."""
    path = _find_path(entry.name)
    dtype = next((d for d in (torch.float32, torch.int64) if entry.supports_dtype(d, "cpu")), None)
    if path is None or dtype is None:
        return []
    random.seed(0)
    torch.manual_seed(0)
    try:
        samples = list(entry.sample_inputs("cpu", dtype, requires_grad=False))
    # Some need libraries that are not here.
    except Exception:  # noqa: BLE001
        return []
    found: dict[str, None] = {}
    for sample in samples:
        try:
            words = [_write(sample.input), *map(_write, sample.args), *(f"{k}={_write(v)}" for k, v in sample.kwargs.items())]
            line = f"{path}({', '.join(words)})"
            if _runs(line):
                found[line] = None
        except Unfit:
            continue
    lines = list(found)
    step = max(1, len(lines) // SAMPLES)
    return lines[::step][:SAMPLES]


def _find_path(name: str) -> str | None:
    path = {"__getitem__": None}.get(name, f"torch.{name}")
    value: Any = torch
    for part in name.split("."):
        value = getattr(value, part, None)
    if value is None or path is None:
        return f"torch.Tensor.{name}" if hasattr(Tensor, name) and not name.startswith("_") else None
    return path


def _write(value: Any) -> str:
    if isinstance(value, Tensor):
        if value.layout != torch.strided or value.numel() > LARGEST or value.is_quantized:
            raise Unfit
        dtype = str(value.dtype).removeprefix("torch.")
        if value.dtype == torch.int64:
            low, high = (int(value.min()), int(value.max())) if value.numel() else (0, 0)
            return f"<{Spec(dtype, tuple(value.shape), values=f'below {high + 1}' if low >= 0 else '')}>"
        is_positive = value.is_floating_point() and value.numel() > 1 and bool((value > 0).all())
        return f"<{Spec(dtype, tuple(value.shape), values='positive' if is_positive else '')}>"
    if isinstance(value, (bool, int, float, str, type(None))):
        return re.sub(r"\b(inf|nan)\b", r"torch.\1", repr(value)) if isinstance(value, float) else repr(value)
    if isinstance(value, (torch.dtype, torch.memory_format)):
        return str(value)
    if type(value) in (list, tuple, torch.Size):
        words = ", ".join(map(_write, value))
        return f"[{words}]" if isinstance(value, list) else f"({words}{',' if len(value) == 1 else ''})"
    if isinstance(value, slice):
        return repr(value)
    raise Unfit


def _runs(line: str) -> bool:
    """Whether an invocation with numbers of its own gives tensors, and the same ones twice."""
    try:
        first, second = (_run(line) for _ in range(2))
    # What was sampled with care need not run on any numbers.
    except Exception:  # noqa: BLE001
        return False
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return first.layout == torch.strided and torch.equal(first.isnan() | (first != first), second.isnan() | (second != second))
    return False


def _run(line: str) -> Any:
    torch.manual_seed(1)
    scope: dict[str, Any] = {"torch": torch}

    def put(match: re.Match[str]) -> str:
        spec = parse_spec(match[1])
        assert spec is not None
        name = f"x{len(scope)}"
        scope[name] = make_tensor(spec)
        return name

    return eval(re.sub(r"<([^<>]*)>", put, line), scope)


if __name__ == "__main__":
    main()
