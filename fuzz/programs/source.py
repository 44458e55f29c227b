"""The Python of a program: its class, how its inputs are made, and a script that shows both eager's and the compiler's results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tcomp.fuzz.programs.program import Call, Named, Program, Spec

WIDER = {"float32": "float64", "float16": "float64", "bfloat16": "float64", "complex64": "complex128"}
"""In which type a program is computed that is to be exact."""


BOX = """class Box:
    def __init__(self, **held):
        vars(self).update(held)"""
"""What objects among the inputs are made of."""


def is_box(named: Named) -> bool:
    """Whether an input is an object."""
    return isinstance(named.made, str) and named.made.startswith("Box(")


def print_base(spec: Spec) -> str:
    """The expression of a contiguous tensor that a tensor of this kind is a view of."""
    shape = list(spec.shape)
    match spec.layout:
        case "transposed" if len(shape) > 1:
            shape[-2:] = shape[:-3:-1]
        case "reversed":
            shape.reverse()
        case "sliced" if shape:
            shape[-1] = 2 * shape[-1] + 1
        case "offset" if shape:
            shape[0] += 2
        case "expanded" if shape:
            shape[0] = 1
    sizes, dtype = f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})", f"torch.{spec.dtype}"
    if spec.dtype == "bool":
        return f"(torch.rand({sizes}) < 0.5)"
    if not spec.dtype.startswith(("float", "bfloat", "complex")):
        most = spec.values.removeprefix("below ") if spec.values.startswith("below") else None
        low = "0" if most is not None or spec.dtype == "uint8" else "-4"
        return f"torch.randint({low}, {most or 5}, {sizes}, dtype={dtype})"
    base = f"torch.randn({sizes}, dtype={dtype})"
    if spec.values == "positive":
        return f"({base}.abs() + 0.125)"
    if spec.values == "special":
        return f"torch.tensor([0.0, -0.0, 1.0, -1.0, torch.inf, -torch.inf, torch.nan, 0.5], dtype={dtype})[torch.randint(0, 8, {sizes})]"
    return base


def print_view(spec: Spec) -> str:
    """What makes a tensor of this kind of its base: the rest of the expression."""
    rank = len(spec.shape)
    match spec.layout:
        case "transposed" if rank > 1:
            return ".mT"
        case "reversed" if rank:
            return f".permute({', '.join(str(d) for d in reversed(range(rank)))})"
        case "sliced" if rank:
            return "[..., 1::2]"
        case "offset" if rank:
            return "[1:-1]"
        case "expanded" if rank:
            return f".expand({', '.join(map(str, spec.shape))})"
        case "channels_last" if rank in (4, 5):
            return f".to(memory_format=torch.channels_last{'_3d' if rank == 5 else ''})"
    return ""


def print_tensor(spec: Spec) -> str:
    """The expression of a tensor of this kind."""
    return f"{print_base(spec)}{print_view(spec)}" + (".requires_grad_()" if spec.grad else "")


def list_inputs(program: Program, call: Call) -> list[Named]:
    """The inputs of a call: those of the program in its sizes and its layout."""
    sizes = dict(call.sizes)
    found = []
    for named in program.inputs:
        made = named.made
        if isinstance(made, Spec):
            made = replace(made, shape=tuple(sizes.get(size, size) for size in made.shape), layout=call.layout or made.layout)
        found.append(replace(named, made=made))
    return found


def print_arguments(program: Program) -> str:
    """The arguments of a call, whose names are those of the inputs."""
    names = [named.name for named in program.inputs]
    match program.option("pack"):
        case 1:
            return "{" + ", ".join(f'"{name}": {name}' for name in names) + "}"
        case 2:
            return f"({', '.join(names)}{',' if len(names) == 1 else ''})"
    return ", ".join(names)


def print_forward(program: Program) -> list[str]:
    """The lines of `forward`."""
    names = [named.name for named in program.inputs]
    packed = program.option("pack")
    lines = [f"def forward({', '.join(['self', *(['inputs'] if packed else names)])}):"]
    if packed and names:
        values = ", ".join(f'inputs["{name}"]' if packed == 1 else f"inputs[{place}]" for place, name in enumerate(names))
        lines.append(f"    {', '.join(names)} = {values}")
    return [*lines, *(f"    {statement}" for statement in program.statements)]


def print_member(member: Named) -> str:
    """The statement that makes a member, but for how it is registered, which is for whoever builds the module."""
    if isinstance(member.made, str):
        return f"self.{member.name} = {member.made}"
    if member.kind == "parameter":
        return f"self.{member.name} = torch.nn.Parameter({print_tensor(member.made)})"
    return f'self.register_buffer("{member.name}", {print_tensor(member.made)})'


def print_class(program: Program) -> list[str]:
    """The lines of the module's class."""
    lines = ["class M(torch.nn.Module):"]
    if program.members:
        lines += ["    def __init__(self):", "        super().__init__()"]
        lines += [f"        {print_member(member)}" for member in program.members]
    return [*lines, *(f"    {line}" for line in print_forward(program))]


def print_compile(program: Program) -> str:
    """The expression that compiles a module."""
    options = list_options(program)
    if program.way == "compile":
        # What stops the compiler is shown, not left to PyTorch.
        words = "".join(f", {name}={value!r}" for name, value in options.items())
        return f"tcomp.compile(m{words})"
    return f'torch.compile(m, backend="tcomp"{f", options={options!r}" if options else ""})'


def list_options(program: Program) -> dict[str, object]:
    """The options of `tcomp.compile` that a program asks for."""
    found: dict[str, object] = {}
    for name, value in program.options:
        match name:
            case "dynamic":
                found["dynamic"] = value == 1
            case "threads":
                found["threads"] = value
            case "strict" if value:
                found["numerics"] = "strict"
    return found


def print_script(program: Program, bucket: str = "", what: str = "", compiler: str = "tcomp") -> str:
    """A script that shows what eager and the compiler make of a program; it needs torch and the compiler alone."""
    made = print_compile(program) if compiler == "tcomp" else f'torch.compile(m, backend="{compiler}")'
    imported = ["import tcomp"]
    if compiler in _CONVERT:
        made, imported = "convert(m)", _CONVERT[compiler].splitlines()
    oracle = bucket.partition(":")[0]
    said = [f"# {line}" for line in f"{bucket}\n{what}".splitlines() if line.strip()]
    boxes = [named.name for named in program.inputs if is_box(named)]
    lines = ["import torch", *imported, "", *(BOX.splitlines() if boxes else []), *print_class(_shorten(program))]
    lines += ["", f"for compile in (lambda m: m, lambda m: {made}):"]
    shown = _print_shown(program, oracle)
    is_named = bool(program.members) or "m." in shown or "(m)" in shown or any(call.actions for call in program.calls)
    named = [f"    torch.manual_seed({program.option('numbers')})", "    m = M()", "    run = compile(m)"]
    lines += named if is_named else ["    run = compile(M())"]
    for number, call in enumerate(program.calls):
        lines += [f"    {action}" for action in call.actions]
        lines += [f"    torch.manual_seed({program.option('numbers') + number + 1})"]
        lines += [
            f"    {named.name} = {print_tensor(named.made) if isinstance(named.made, Spec) else named.made}"
            for named in list_inputs(program, call)
            if not (number and program.option("keep") and is_box(named))
        ]
        called = f"y = run({print_arguments(program)})"
        lines += [f"    {called}", *_print_backward(program)] if program.trains else [f"    with torch.no_grad(): {called}"]
        lines += [f"    print({shown})"]
    return "\n".join([*said, *lines]) + "\n"


_CONVERT = {
    "onnxruntime": """import onnxruntime

def convert(m):
    def run(*args):
        torch.onnx.export(m, args, "model.onnx", dynamo=True, verbose=False)
        session = onnxruntime.InferenceSession("model.onnx")
        tensors = [t.numpy() for t in torch.utils._pytree.tree_leaves(args) if isinstance(t, torch.Tensor)]
        return session.run(None, {i.name: t for i, t in zip(session.get_inputs(), tensors)})
    return run""",
    "openvino": """import openvino

def convert(m):
    def run(*args):
        model = openvino.compile_model(openvino.convert_model(m, example_input=args), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return list(model([t.numpy() for t in torch.utils._pytree.tree_leaves(args) if isinstance(t, torch.Tensor)]).values())
    return run""",
}
"""How a script calls compilers that take whole models."""


def _shorten(program: Program) -> Program:
    """The program, which returns its last value at once."""
    *body, last = program.statements
    name, _, value = body[-1].partition(" = ") if body else ("", "", "")
    return replace(program, statements=(*body[:-1], f"return {value}")) if body and last == f"return {name}" else program


def _print_shown(program: Program, oracle: str) -> str:
    """What a script prints after a call: that which is otherwise than in eager."""
    match oracle:
        case "strides":
            return "[t.stride() for t in torch.utils._pytree.tree_leaves(y)]"
        case "mutation" | "state" | "aliasing":
            names = [named.name for named in program.inputs if isinstance(named.made, Spec)]
            boxes = [f"vars({named.name})" for named in program.inputs if is_box(named)]
            return ", ".join(["y", *names, *boxes, "vars(m)", "*m.buffers()"])
        case "gradients":
            leaves = [f"{n.name}.grad" for n in program.inputs if isinstance(n.made, Spec) and n.made.grad]
            return ", ".join([*leaves, *(f"m.{n.name}.grad" for n in program.members if n.kind == "parameter")]) or "y.requires_grad"
    return "y"


def _print_backward(program: Program) -> Sequence[str]:
    if program.statements[-1].removeprefix("return ").isidentifier():
        return ["    y.backward(torch.linspace(0.25, 1, y.numel(), dtype=y.dtype).view(y.shape))"]
    return [
        "    ends = [t for t in torch.utils._pytree.tree_leaves(y) if isinstance(t, torch.Tensor) and t.requires_grad]",
        "    torch.autograd.backward(ends, [torch.linspace(0.25, 1, t.numel(), dtype=t.dtype).view(t.shape) for t in ends])",
    ]
