"""All rows by section, and what each does in a worker."""

from __future__ import annotations

import contextlib
import gc
import importlib.metadata
import importlib.util
import platform
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

import tcomp
from tcomp.zoo import NAMES, build
from tests.gpu.benchmarks import ATTENTIONS, OTHERS, PRODUCTS, STREAMS, Benchmark
from tests.gpu.case import Case, Inputs
from tests.gpu.cases import CASES
from tests.gpu.check import Bed
from tests.gpu.contest import TUNED, Contest, list_kernels
from tests.gpu.measure import DeviceClock, HostClock
from tests.gpu.results import Row, Skip
from tests.gpu.scenarios import SCENARIOS, Scenario
from tests.gpu.schedule import Section
from tests.gpu.worker import RowFunction, Task, describe_error

CHECKS = (
    Section("kernels", "single kernels against float64", weight=6, limit=90),
    Section("behaviour", "sizes, streams, weights, training, faults", weight=2, limit=90),
    Section("zoo-small", "small models against float64", weight=3, limit=120),
)
MEASUREMENTS = (
    Section("matmul", "matrix products", weight=2, limit=60),
    Section("memory", "what memory bounds", weight=2, limit=60),
    Section("attention", "attention", weight=1, limit=60),
    Section("zoo-f32", "models in f32", weight=3, limit=100),
    Section("zoo-bf16", "models in bf16", weight=3, limit=100),
    Section("other", "scatters, convolutions, others", weight=1, limit=60),
    Section("tuned", "kernels chosen by measurement", weight=2, limit=90, is_alone=True),
    Section("zoo-max", "models with measured kernels against Inductor max-autotune", weight=4, limit=150, is_alone=True),
)
"""In order of value. What measures in order to choose has the machine to itself."""

SECONDS = 2.5
"""Of measuring, for one row."""


def list_labels(*, interpret: bool) -> dict[str, list[str]]:
    """The labels of all rows by section. Cases of different families take turns, so that a run that is cut off has seen them all."""
    names: dict[str, Sequence[str]] = {
        "kernels": _take_turns(CASES),
        "behaviour": [scenario.name for scenario in SCENARIOS],
        "zoo-small": [f"{name}-f32" for name in NAMES] + ([] if interpret else [f"{name}-bf16" for name in NAMES]),
    }
    if not interpret:
        names |= {
            **{section: [b.name for b in table] for section, table in BENCHMARKS.items()},
            **dict.fromkeys(("zoo-f32", "zoo-bf16"), NAMES),
            "zoo-max": [f"{name}-{dtype}" for dtype in ("bf16", "f32") for name in NAMES],
        }
    return {section: [f"{section}/{name}" for name in listed] for section, listed in names.items()}


BENCHMARKS: Mapping[str, Sequence[Benchmark]] = {
    "matmul": PRODUCTS,
    "memory": STREAMS,
    "attention": ATTENTIONS,
    "other": OTHERS,
    "tuned": [
        replace(benchmark, name=f"{section}-{benchmark.name}", peers=peers)
        for section, table, peers in (
            ("matmul", PRODUCTS, (TUNED, "inductor-max")),
            ("memory", STREAMS, (TUNED, "copy")),
            ("attention", ATTENTIONS, (TUNED,)),
        )
        for benchmark in table
    ],
}
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


def _take_turns(cases: Sequence[Case]) -> list[str]:
    families: dict[str, list[str]] = {}
    for case in cases:
        families.setdefault(case.family, []).append(case.name)
    most = max(map(len, families.values()))
    return [names[turn] for turn in range(most) for names in families.values() if turn < len(names)]


@dataclass(frozen=True, slots=True)
class Rows:
    """The table that a worker opens."""

    bed: Bed
    rows: dict[str, RowFunction] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for case in CASES:
            self.rows[f"kernels/{case.name}"] = partial(check_case, self.bed, case)
        for scenario in SCENARIOS:
            self.rows[f"behaviour/{scenario.name}"] = partial(check_scenario, self.bed, scenario)
        for section, benchmarks in BENCHMARKS.items():
            for benchmark in benchmarks:
                self.rows[f"{section}/{benchmark.name}"] = partial(measure_benchmark, self.bed, section, benchmark)
        for name in NAMES:
            for short, dtype in DTYPES.items():
                self.rows[f"zoo-small/{name}-{short}"] = partial(check_model, self.bed, name, short)
                measured = partial(measure_model, self.bed, model=name, dtype=dtype)
                self.rows[f"zoo-{short}/{name}"] = partial(measured, f"zoo-{short}", name, ("eager", "inductor"))
                self.rows[f"zoo-max/{name}-{short}"] = partial(measured, "zoo-max", f"{name}-{short}", (TUNED, "inductor-max"))

    def describe(self) -> dict[str, Any]:
        """The machine."""
        return describe_machine(self.bed.device)

    def finish_part(self) -> str:
        """Wait for the device: a fault on it belongs to the row that just ran."""
        try:
            if self.bed.has_cuda:
                torch.cuda.synchronize()
        except RuntimeError as error:
            return f"a fault on the GPU, seen when the row had ended: {error}"
        return ""


def open_rows(folder: Path, *, interpret: bool) -> Rows:
    """The rows as a worker has them: on the GPU, or small and interpreted; workers take turns by a file in the folder."""
    # Several workers share the processors.
    torch.set_num_threads(1 if interpret else 2)
    if interpret:
        return Rows(Bed(torch.device("cpu"), {"backend": "triton", "interpret": True}, is_small=True))
    return Rows(Bed(torch.device("cuda", 0), turns=folder / "turns"))


@contextlib.contextmanager
def clean() -> Iterator[None]:
    """Forget what a row compiled and allocated, when it ends."""
    try:
        yield
    finally:
        if "torch._dynamo" in sys.modules:
            torch._dynamo.reset()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def check_case(bed: Bed, case: Case, task: Task) -> Row:
    """Compare a case with float64."""
    with clean():
        start = time.perf_counter()
        verdict, compiled = bed.check_case(case)
        seconds = time.perf_counter() - start
        return Row(
            "kernels",
            case.name,
            "right" if verdict.is_right else "wrong",
            verdict.detail,
            error=verdict.error,
            eager_error=verdict.eager_error,
            compile_seconds=seconds,
            kernels=list_kernels(compiled),
        )


def check_scenario(bed: Bed, scenario: Scenario, task: Task) -> Row:
    """Run a scenario; what it finds wrong it raises as an AssertionError."""
    with clean():
        try:
            scenario.run(bed)
        except AssertionError as error:
            return Row("behaviour", scenario.name, "wrong", describe_error(error))
        return Row("behaviour", scenario.name, "right")


def find_model(bed: Bed, name: str, dtype: torch.dtype, *, small: bool) -> tuple[nn.Module, Inputs]:
    """A model of the zoo on the device. Raises Skip where the package that most of them come from is not installed."""
    if name != "mlp" and importlib.util.find_spec("transformers") is None:
        raise Skip("transformers is not installed")
    module, inputs = bed.move(build(name, dtype, size="small" if small else "full"))
    return module.requires_grad_(False), inputs


def check_model(bed: Bed, name: str, dtype: str, task: Task) -> Row:
    """Compare a small model with float64."""
    with clean():
        module, inputs = find_model(bed, name, DTYPES[dtype], small=True)
        start = time.perf_counter()
        compiled = bed.compile(module, inputs)
        seconds = time.perf_counter() - start
        # Interpreted, a call takes long, and the next is no different.
        verdict = bed.check(compiled, module, inputs, calls=2 if bed.has_cuda else 1)
        status, kernels = "right" if verdict.is_right else "wrong", list_kernels(compiled)
        errors = verdict.error, verdict.eager_error
        return Row("zoo-small", f"{name}-{dtype}", status, verdict.detail, 0.0, *errors, seconds, kernels)


def measure_benchmark(bed: Bed, section: str, benchmark: Benchmark, task: Task) -> Generator[Row, None, Row]:
    """Measure a kernel against its peers, on the device alone."""
    with clean(), torch.no_grad():
        torch.manual_seed(0)
        with bed.device:
            module, inputs = benchmark.make(lambda full, small: small if bed.is_small else full)
        contest = Contest(bed, Row(section, benchmark.name, "failed"), module.requires_grad_(False), inputs, task)
        with multiply(benchmark.precision):
            contest.prepare(benchmark.peers, benchmark.others, benchmark.options)
        if benchmark.count_operations:
            contest.row = replace(contest.row, operations=benchmark.count_operations(*inputs))
        yield contest.finish()
        with multiply(benchmark.precision):
            contest.measure(DeviceClock(is_cold=benchmark.is_cold) if bed.has_cuda else HostClock(), SECONDS)
        return contest.finish()


def measure_model(
    bed: Bed, section: str, title: str, peers: Sequence[str], task: Task, *, model: str, dtype: torch.dtype
) -> Generator[Row, None, Row]:
    """Measure a model of the zoo from call to result, as it is called and recorded as a CUDA graph."""
    with clean(), torch.no_grad():
        module, inputs = find_model(bed, model, dtype, small=bed.is_small)
        contest = Contest(bed, Row(section, title, "failed"), module, inputs, task)
        contest.prepare(peers, {}, {})
        if bed.has_cuda:
            contest.record()
        yield contest.finish()
        contest.measure(HostClock(), SECONDS)
        return contest.finish()


@contextlib.contextmanager
def multiply(precision: str) -> Iterator[None]:
    """Tell PyTorch how to multiply f32 matrices for a while."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def describe_machine(device: torch.device) -> dict[str, Any]:
    """What the results were found on."""
    machine: dict[str, Any] = {
        "gpu": "none: interpreted on the CPU",
        "driver": "",
        "torch": torch.__version__,
        "triton": _find_version("triton"),
        "tcomp": tcomp.__version__,
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        machine |= {"gpu": properties.name, "multiprocessors": properties.multi_processor_count, "memory": properties.total_memory}
        machine["driver"] = _ask_driver()
    return machine


def _find_version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def _ask_driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.split("\n")[0]
    except (OSError, subprocess.SubprocessError):
        return "unknown"
