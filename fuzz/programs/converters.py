"""Compilers that take a whole model over and run it by themselves: ONNX Runtime and OpenVINO, as `tcomp bench` measures them.

A module is converted anew for every call, from a copy: what the program does to it in between counts, and what conversion does to it
does not. They promise the numbers of results, not how these lie in memory, nor gradients, writes or errors; a program that they refuse
to convert says nothing, nor does a call that writes to what is there before it.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from tcomp.fuzz.programs.program import Program
from tcomp.fuzz.programs.run import Compile
from tcomp.peers.table import PEERS


class RefusedModel(Exception):  # noqa: N818 (says what happened)
    """A converter does not take a model."""


def convert_by(peer: str) -> Compile:
    """One of `PEERS`, which converts a module when it is called."""

    def compile(program: Program, module: nn.Module) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            leaves, structure = tree_flatten(args)
            places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
            tensors = [leaves[place].detach().clone() for place in places]
            # What the results are nested in, and those that are no tensors, are known from eager alone.
            wanted, nesting = tree_flatten(copy.deepcopy(module)(*_copy(args)))
            if any(isinstance(leaf, Tensor) and leaf.is_complex() for leaf in wanted):
                raise RefusedModel("they have no complex numbers: these come back as pairs")
            flat = _Flat(copy.deepcopy(module), leaves, places, structure)
            with torch.no_grad(), _quiet():
                try:
                    run = PEERS[peer](flat, tuple(tensor.clone() for tensor in tensors))
                # There are as many ways of refusing a model as there are operators.
                except Exception as error:
                    raise RefusedModel(f"{type(error).__name__}: {error}") from error
                # Memory of results may belong to what has been compiled.
                found: Any = run(*tensors)
                numbers = iter([number.clone() for number in found])
            results = [next(numbers, None) if isinstance(leaf, Tensor) else leaf for leaf in wanted]
            return tree_unflatten(results, nesting)

        return call

    return compile


class _Flat(nn.Module):
    """A module of tensors alone: everything else among its arguments is as it was."""

    def __init__(self, module: nn.Module, leaves: list[Any], places: list[int], structure: Any) -> None:
        super().__init__()
        self.module = module
        self._leaves = leaves
        self._places = places
        self._structure = structure
        self.training = module.training

    def forward(self, *tensors: Tensor) -> Any:
        leaves = list(self._leaves)
        for place, tensor in zip(self._places, tensors):
            leaves[place] = tensor
        results, _ = tree_flatten(self.module(*tree_unflatten(leaves, self._structure)))
        return tuple(result for result in results if isinstance(result, Tensor))


def _copy(args: tuple[Any, ...]) -> tuple[Any, ...]:
    leaves, structure = tree_flatten(args)
    copies: tuple[Any, ...] = tree_unflatten(
        [leaf.detach().clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves], structure
    )
    return copies


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Converters report their progress and doubts."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


CONVERTERS: Mapping[str, Compile] = {name: convert_by(name) for name in ("onnxruntime", "openvino")}
"""By name."""
