"""Programs as JSON and back: every part by a small pair of functions, sizes as the IR's text, anything else tagged with its kind.

Nothing that is read is executed: operators are looked up in torch.ops by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch._ops import OpOverload
from torch.utils._pytree import TreeSpec, treespec_dumps, treespec_loads

from tcomp.ir.errors import RecordError, Unsupported
from tcomp.ir.expressions import Index, print_index
from tcomp.program.kernels import AnyLibrary
from tcomp.program.program import (
    Assertion,
    CompiledStage,
    Constant,
    Given,
    Operand,
    Owned,
    Program,
    Replay,
    Result,
    Returned,
    Slot,
    SymbolSource,
    View,
)
from tcomp.program.reports import StageReport
from tcomp.program.sizes import Combination, Comparison, Condition, TensorSpec
from tcomp.saved.sizes import read_size, write_size
from tcomp.structure import Leaf, Structure

Json = Any

_TORCH_VALUES: tuple[tuple[str, type], ...] = (
    ("dtype", torch.dtype),
    ("layout", torch.layout),
    ("memory_format", torch.memory_format),
)


def write_program(program: Program, write_library: Callable[[AnyLibrary], Json]) -> Json:
    """A program as JSON. Raises Unsupported for structures without a text form."""
    return {
        "device": program.device.type,
        "inputs": [{"given": write_value(i.value)} if isinstance(i, Given) else write_spec(i) for i in program.inputs],
        "structure": [_write_structure(program.in_spec, "inputs"), _write_structure(program.out_spec, "outputs")],
        "symbols": {name: [s.input, s.dim, s.minimum, s.maximum] for name, s in program.symbols.items()},
        "guards": [write_condition(guard) for guard in program.guards],
        "offsets": [[index, offset] for index, offset in program.offsets.items()],
        "constants": {name: write_spec(spec) for name, spec in program.constants.items()},
        "mutated": sorted(program.mutated),
        "moved": sorted(program.moved),
        "stages": [write_stage(stage, write_library) for stage in program.stages if isinstance(stage, CompiledStage)],
        "assertions": [[write_operand(a.operand), a.what, a.where] for a in program.assertions],
        "mutations": [[write_operand(target), write_operand(new)] for target, new in program.mutations],
        "results": [write_result(result) for result in program.results],
        "slots": program.slots,
    }


def _write_structure(spec: TreeSpec | Structure | None, place: str) -> Json:
    if isinstance(spec, Structure):
        leaves = [item.index for item in spec.items if isinstance(item, Leaf)]
        if len(leaves) < len(spec.items) or spec.refills:
            raise Unsupported(f"objects among the {place} cannot be stored", help="pass and return tensors, tuples, lists and dicts")
        return [_write_structure(spec.spec, place), leaves]
    try:
        return None if spec is None else treespec_dumps(spec)
    except NotImplementedError as error:
        raise Unsupported(
            f"the structure of {place} cannot be stored: {error}", help="pass and return tensors, tuples, lists and dicts"
        ) from error


def _read_structure(data: Json) -> TreeSpec | Structure | None:
    if isinstance(data, list):
        text, leaves = data
        return Structure(treespec_loads(text), tuple(map(Leaf, leaves)), ())
    return None if data is None else treespec_loads(data)


def read_program(
    data: Json, device: torch.device, read_library: Callable[[Json], AnyLibrary], reports: list[Callable[[], StageReport]]
) -> Program:
    """A program from JSON, for tensors on a device."""
    in_spec, out_spec = map(_read_structure, data["structure"])
    return Program(
        device=device,
        inputs=tuple(Given(read_value(i["given"])) if "given" in i else read_spec(i) for i in data["inputs"]),
        in_spec=in_spec,
        out_spec=out_spec,
        symbols={name: SymbolSource(*numbers) for name, numbers in data["symbols"].items()},
        guards=tuple(read_condition(guard) for guard in data["guards"]),
        offsets=dict(data["offsets"]),
        constants={name: read_spec(spec) for name, spec in data["constants"].items()},
        mutated=frozenset(data["mutated"]),
        moved=frozenset(data["moved"]),
        stages=tuple(read_stage(stage, read_library, report) for stage, report in zip(data["stages"], reports, strict=True)),
        assertions=tuple(Assertion(read_operand(operand), what, where) for operand, what, where in data["assertions"]),
        mutations=tuple((read_operand(target), read_operand(new)) for target, new in data["mutations"]),
        results=tuple(read_result(result) for result in data["results"]),
        slots=data["slots"],
    )


def write_stage(stage: CompiledStage, write_library: Callable[[AnyLibrary], Json]) -> Json:
    """A compiled stage, without its report."""

    def library(part: AnyLibrary | None) -> Json:
        return None if part is None else write_library(part)

    return {
        "sources": {name: write_operand(operand) for name, operand in stage.sources.items()},
        "folded": dict(stage.folded),
        "results": [[name, slot, write_spec(spec)] for name, slot, spec in stage.results],
        "specs": {name: write_spec(spec) for name, spec in stage.specs.items()},
        "prelude": library(stage.prelude),
        "main": library(stage.main),
    }


def read_stage(data: Json, read_library: Callable[[Json], AnyLibrary], report: Callable[[], StageReport]) -> CompiledStage:
    """A compiled stage from JSON."""
    prelude, main = (None if data[part] is None else read_library(data[part]) for part in ("prelude", "main"))
    return CompiledStage(
        sources={name: read_operand(operand) for name, operand in data["sources"].items()},
        folded=data["folded"],
        results=tuple((name, slot, read_spec(spec)) for name, slot, spec in data["results"]),
        specs={name: read_spec(spec) for name, spec in data["specs"].items()},
        prelude=prelude,
        main=main,
        report=report,
    )


def write_result(result: Result) -> Json:
    """How one leaf of the module's result is made."""
    match result:
        case Owned(operand, spec, is_fresh):
            return ["owned", write_operand(operand), write_spec(spec), is_fresh]
        case Returned(operand):
            return ["returned", write_operand(operand)]
        case View(of, steps):
            base = of if isinstance(of, int) else write_operand(of)
            return ["view", base, [[write_value(s.operator), write_value(s.args), write_value(dict(s.kwargs)), s.index] for s in steps]]
        case Given(value):
            return ["given", write_value(value)]


def read_result(data: Json) -> Result:
    """A result from JSON."""
    match data:
        case ["owned", operand, spec, is_fresh]:
            return Owned(read_operand(operand), read_spec(spec), is_fresh)
        case ["returned", operand]:
            return Returned(read_operand(operand))
        case ["view", of, steps]:
            base = of if isinstance(of, int) else read_operand(of)
            return View(base, tuple(Replay(read_value(op), read_value(a), read_value(k), index) for op, a, k, index in steps))
        case ["given", value]:
            return Given(read_value(value))
    raise RecordError(f"no result is written as {data!r}")


def write_operand(operand: Operand) -> Json:
    """A slot as {"slot": number}, a constant as {"constant": name}."""
    return {"slot": operand.index} if isinstance(operand, Slot) else {"constant": operand.name}


def read_operand(data: Json) -> Operand:
    """An operand from JSON."""
    return Slot(data["slot"]) if "slot" in data else Constant(data["constant"])


def write_spec(spec: TensorSpec) -> Json:
    """A tensor's dtype, shape and strides."""
    return {
        "dtype": str(spec.dtype).removeprefix("torch."),
        "shape": [write_size(size) for size in spec.shape],
        "strides": [write_size(size) for size in spec.strides],
    }


def read_spec(data: Json) -> TensorSpec:
    """A tensor's spec from JSON."""
    shape, strides = (tuple(read_size(size) for size in data[part]) for part in ("shape", "strides"))
    return TensorSpec(_read_torch(data["dtype"], torch.dtype), shape, strides)


def write_condition(condition: Condition) -> Json:
    """A condition as [operator, parts]."""
    match condition:
        case Comparison(relation, left, right):
            return [relation, print_index(left), print_index(right)]
        case Combination(operator, parts):
            return [operator, *map(write_condition, parts)]


def read_condition(data: Json) -> Condition:
    """A condition from JSON."""
    match data:
        case ["and" | "or" | "not" as operator, *parts]:
            return Combination(operator, tuple(map(read_condition, parts)))
        case ["==" | "!=" | "<" | "<=" as relation, str() as left, str() as right]:
            return Comparison(relation, read_size(left), read_size(right))
    raise RecordError(f"no condition is written as {data!r}")


def write_value(value: Any) -> Json:
    """A Python value as JSON, tagged where JSON has no such type. Raises Unsupported for others."""
    for tag, kind in _TORCH_VALUES:
        if isinstance(value, kind):
            return {tag: str(value).removeprefix("torch.")}
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return {"float": value.hex()}
        case complex():
            return {"complex": [value.real.hex(), value.imag.hex()]}
        case bytes():
            return {"bytes": value.hex()}
        case slice():
            return {"slice": [write_value(part) for part in (value.start, value.stop, value.step)]}
        case torch.device():
            return {"device": str(value)}
        case Index():
            return {"index": print_index(value)}
        case OpOverload():
            return {"operator": [value.namespace, value._schema.name.partition("::")[2], value._overloadname]}
        case list() | tuple():
            return {"tuple" if isinstance(value, tuple) else "list": [write_value(part) for part in value]}
        case Mapping():
            return {"dict": [[name, write_value(part)] for name, part in value.items()]}
    raise Unsupported(f"a value of type {type(value).__name__} cannot be stored", where=repr(value))


def read_value(data: Json) -> Any:
    """A Python value from JSON."""
    if not isinstance(data, dict):
        return data
    ((tag, content),) = data.items()
    for known, kind in _TORCH_VALUES:
        if tag == known:
            return _read_torch(content, kind)
    match tag:
        case "float":
            return float.fromhex(content)
        case "complex":
            return complex(*map(float.fromhex, content))
        case "bytes":
            return bytes.fromhex(content)
        case "slice":
            return slice(*map(read_value, content))
        case "device":
            return torch.device(content)
        case "index":
            return read_size(content)
        case "operator":
            namespace, name, overload = content
            found = getattr(getattr(getattr(torch.ops, namespace), name), overload)
            if isinstance(found, OpOverload):
                return found
        case "list" | "tuple":
            parts = map(read_value, content)
            return tuple(parts) if tag == "tuple" else list(parts)
        case "dict":
            return {name: read_value(part) for name, part in content}
    raise RecordError(f"no value is written as {data!r}")


def _read_torch(name: str, kind: type) -> Any:
    found = getattr(torch, name, None)
    if not isinstance(found, kind):
        raise RecordError(f"this torch has no {kind.__name__} {name}")
    return found
