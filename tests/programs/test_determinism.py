"""The same module gives the same bytes in every process: C and Triton sources, plans and schedules, whatever the hash seed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

DIGEST = """
import hashlib, sys
import torch
import tcomp
from tcomp.zoo import build

module, inputs = build(sys.argv[1], size="small")
with torch.no_grad():
    compiled = tcomp.compile(module, inputs, dynamic=sys.argv[2] == "dynamic", backend=sys.argv[3])
for report in compiled.reports:
    parts = {"cascade": report.cascade, "schedule": report.schedule, "plan": report.plan}
    parts.update((kernel.name, kernel.source + kernel.why) for kernel in report.kernels)
    for name, text in parts.items():
        print(name, hashlib.sha256(text.encode()).hexdigest())
for program in compiled.programs:
    for stage in program.stages:
        for library in (stage.prelude, stage.main):
            if library is None or sys.argv[3] == "c":
                print("library", library and library.path.name)
                continue
            print("library", hashlib.sha256(repr((library.steps, library.arena, library.checks)).encode()).hexdigest())
            for kernel in library.kernels:
                print("module", kernel.path.name, kernel.names, kernel.unit.symbol, kernel.unit.parameters)
print(hash("the seed differs"), file=sys.stderr)
"""


def compile_elsewhere(model, sizes, backend, seed):
    """What a process with this hash seed compiles: names with digests; and a hash that shows the seed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": str(seed)}
    command = [sys.executable, "-c", DIGEST, model, sizes, backend]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("model", "sizes", "backend"),
    [
        ("bert", "static", "c"),
        ("bert", "dynamic", "c"),
        ("resnet50", "static", "c"),
        ("bert", "dynamic", "triton"),
        ("gpt2", "static", "triton"),
    ],
)
def test_hash_seeds_change_no_byte(model, sizes, backend):
    (first, one), (second, other) = (compile_elsewhere(model, sizes, backend, seed) for seed in (1, 2))
    assert one != other
    assert first == second
    assert len(first) > 5
    assert any(line.startswith("library ") and not line.endswith("None") for line in first)
