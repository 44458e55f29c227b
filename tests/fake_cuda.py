"""Stands for CUDA where there is none: kernels are interpreted at the very addresses that the runtime computes for the GPU."""

import contextlib
import ctypes

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tcomp.codegen.triton.build import TRITON_LOCK
from tcomp.codegen.triton.module import load_functions
from tcomp.machine.cuda import FaultReporter
from tcomp.machine.devices import CPU
from tcomp.runtime.gpu.device import DeviceProgram
from tcomp.torch_types import TORCH_DTYPES


class FakeEvent:
    """An event that has come to pass unless `is_slow`."""

    def __init__(self, cuda):
        self.cuda = cuda

    def record(self):
        pass

    def query(self):
        return not self.cuda.is_slow


class FakeCuda:
    """The interface of tcomp.machine.cuda.Cuda, on the CPU; tests set the stream, and look at what was done."""

    def __init__(self):
        self.device = CPU
        self.stream = 1
        self.is_slow = False
        self.is_recorded_by_user = False
        self.recording = None
        self.recorded = 0
        self.replayed = 0
        self.kept = []

    def on_device(self):
        return contextlib.nullcontext()

    def find_stream(self):
        return self.stream

    def is_capturing(self):
        return self.is_recorded_by_user

    def synchronise(self):
        pass

    def keep_for_stream(self, tensors):
        self.kept += [(self.stream, tensor.data_ptr()) for tensor in tensors]

    def record(self, launch):
        assert self.recording is None
        self.recording = actions = []
        self.recorded += 1
        with _Recorder(actions):
            launch(99)
        self.recording = None

        def replay():
            self.replayed += 1
            for action in actions:
                action()

        return replay

    def make_reporter(self, count):
        return FaultReporter(torch.zeros(count, dtype=torch.int32), torch.zeros(count, dtype=torch.int32), FakeEvent(self))


class _Recorder(TorchDispatchMode):
    """Keeps calls of PyTorch's libraries for later; what only makes views happens at once."""

    def __init__(self, actions):
        super().__init__()
        self.actions = actions

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if "out" not in (kwargs or {}):
            return func(*args, **(kwargs or {}))
        self.actions.append(lambda: func(*args, **kwargs))
        return kwargs["out"]


class FakeLoader:
    """Loads kernels to be interpreted at raw addresses, and notes which variants were asked for."""

    def __init__(self, library, cuda):
        self.library = library
        self.cuda = cuda
        self.variants = []
        self.launched = []

    def __call__(self, variants):
        self.variants += variants
        return [self.load(*variant) for variant in variants]

    def load(self, number, unaligned):
        kernel = self.library.kernels[number]
        unit = kernel.unit
        function = load_functions(kernel.path, "interpret")[unit.symbol]

        def run(grid, arguments):
            with TRITON_LOCK:
                function[(grid,)](*arguments)

        def launch(grid, stream, arguments):
            assert stream == (99 if self.cuda.recording is not None else self.cuda.stream)
            assert grid > 0
            assert len(arguments) == len(unit.parameters)
            made = []
            for position, (parameter, argument) in enumerate(zip(unit.parameters, arguments)):
                if parameter.type.startswith("*"):
                    assert parameter.name in unaligned or parameter.name == "faults" or argument % 16 == 0
                    is_argument = position < len(unit.kernel.arguments)
                    dtype = TORCH_DTYPES[unit.kernel.arguments[position].dtype] if is_argument else None
                    argument = tensor_at(argument, dtype or (torch.int8 if parameter.name == "scratch" else torch.int32))
                made.append(argument)
            self.launched.append((number, grid))
            if self.cuda.recording is not None:
                self.cuda.recording.append(lambda: run(grid, made))
            else:
                run(grid, made)

        return launch


def tensor_at(address, dtype):
    """One element at an address; no element at 0, where empty tensors are."""
    if address == 0:
        return torch.empty(0, dtype=dtype)
    return torch.frombuffer((ctypes.c_char * dtype.itemsize).from_address(address), dtype=dtype, count=1)


class FakeDevice:
    """Takes the place of `tcomp.runtime.gpu.runner.load_program`: libraries go to a fake GPU; remembers them."""

    def __init__(self):
        self.cuda = FakeCuda()
        self.loaders = []
        self.programs = []

    def __call__(self, library, device, find_constants, *, is_recorded):
        self.loaders.append(FakeLoader(library, self.cuda))
        program = DeviceProgram(library, self.cuda, self.loaders[-1], find_constants, is_recorded=is_recorded)
        self.programs.append(program)
        return program
