"""The table of layers, and which one a text belongs to."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import cache

from tcomp.fuzz.layer import Layer
from tcomp.ir.errors import ParseError


def _cascades(compiler: str) -> Layer:
    layer: Layer = importlib.import_module("tcomp.fuzz.layers.cascades").LAYER
    return layer


def _programs(compiler: str) -> Layer:
    layer: Layer = importlib.import_module("tcomp.fuzz.layers.programs").make_layer(compiler)
    return layer


# Each is imported when it is asked for: one needs PyTorch, the other the passes of this tree, which may be another's.
LAYERS: Mapping[str, Callable[[str], Layer]] = {"cascades": _cascades, "programs": _programs}
"""By name, given the name of the compiler that programs examine."""
TCOMP = "tcomp"
"""The compiler that is examined, unless another one is."""


@cache
def find_layers(names: tuple[str, ...] = tuple(LAYERS), compiler: str = TCOMP) -> tuple[Layer, ...]:
    """Layers of these names."""
    return tuple(LAYERS[name](compiler) for name in names)


def layer_of(text: str, layers: tuple[Layer, ...]) -> Layer:
    """The layer of a seed's text. Raises ParseError."""
    word = text.split(maxsplit=1)[0] if text.strip() else ""
    for layer in layers:
        if layer.word == word:
            return layer
    known = ", ".join(layer.word for layer in layers)
    raise ParseError("it is no seed", line=1, column=1, source=text, help=f"a seed begins with one of: {known}")
