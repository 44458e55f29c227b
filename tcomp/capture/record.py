"""The recorder: every ATen operator a module runs on fake tensors becomes a node of a functional graph."""

import functools
import operator
import sys
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
    UnsupportedOperatorException,
)
from torch.fx import Graph, Node
from torch.utils._python_dispatch import TorchDispatchMode

from tcomp.capture.alias import Functional, Storage, Value, find_functional, refuse_meetings, undo_view
from tcomp.capture.assertions import ASSERTIONS
from tcomp.capture.decompositions.checked import require
from tcomp.capture.decompositions.table import decompositions
from tcomp.capture.fakes import SYMBOLIC, describe, make_template, rebuild
from tcomp.capture.refusals import DependsOnValues, EagerOnly
from tcomp.capture.source import SourceTracker
from tcomp.capture.symbols import SizeNodes
from tcomp.capture.types import ConstantOrigin, InputOrigin, Origin, Source, ViewStep
from tcomp.ir.errors import Unsupported

aten = torch.ops.aten


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records into `graph` while active; real tensors it meets are parameters, buffers or lifted constants."""

    compiles_inner = True

    def __init__(self, tracker: SourceTracker, fake_mode: FakeTensorMode, names: Mapping[int, str], sizes: SizeNodes) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.graph: Graph = sizes.graph
        self.constants: dict[str, Tensor] = {}
        self.lasting: list[Storage] = []
        self._tracker = tracker
        self._fake_mode = fake_mode
        self._names = names
        self._sizes = sizes
        self._values: dict[int, Value] = {}
        # Whatever has a number in _values or _names must stay alive, or another object may take its number.
        self._alive: list[object] = []
        self._results: dict[object, Any] = {}
        self._literals: dict[int, Tensor] = {}
        self._table = decompositions()
        self._handlers: dict[OpOverload, Callable[..., Any]] = {}
        self._last_constant: Node | None = None
        self._arange_site: tuple[FrameType, int] | None = None
        self.read_storages: set[int] = set()
        """The flattened inputs of which an operator reads the storage, wherever in it they begin."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # The guard against Dynamo costs an import of it and a wrapper per operator; nothing here is compiled.
        return False

    def __torch_dispatch__(
        self, func: OpOverload, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Record one operator and return fakes of its results."""
        handler = self._handlers.get(func)
        if handler is None:
            handler = self._handlers[func] = self._choose_handler(func)
        return handler(args, kwargs or {})

    def _choose_handler(self, func: OpOverload) -> Callable[..., Any]:
        if not isinstance(func, OpOverload):
            raise Unsupported(
                f"the higher-order operator {func}", where=str(self.source()), help="use torch.compile(backend='tcomp')"
            )
        special = _SPECIAL.get(func)
        return functools.partial(special, self) if special is not None else self._choose_plain(func)

    def _choose_plain(self, func: OpOverload) -> Callable[..., Any]:
        returns = func._schema.returns
        if not func._schema.is_mutable and not any(isinstance(result.type, _TENSORS) for result in returns):
            if func in ASSERTIONS:
                return functools.partial(self._leaf, func)
            # record_function marks a region of time, which programs have none of.
            if not returns and func is not aten._assert_tensor_metadata.default and func.namespace != "profiler":
                return functools.partial(self._refuse, func, "acts without a result", "take it out of the module")
            return functools.partial(self._query, func)
        if torch.Tag.inplace_view in func.tags:
            return functools.partial(self._change_shape, func)
        if func._schema.is_mutable:
            functional = find_functional(func)
            if functional is None:
                return functools.partial(self._refuse, func, "writes in place in an unknown way", "use a pure operator")
            return functools.partial(self._mutate, func, functional)
        if func in self._table:
            return functools.partial(self._decompose, func, self._table[func])
        # Under inference_mode composite operators arrive whole.
        if func.has_kernel_for_dispatch_key(torch._C.DispatchKey.CompositeImplicitAutograd):
            return functools.partial(self._decompose, func, func.decompose)
        if func.is_view:
            return functools.partial(self._view, func)
        return functools.partial(self._leaf, func)

    def _refuse(self, func: OpOverload, why: str, help: str, args: object, kwargs: object) -> Any:
        raise Unsupported(f"{func} {why}", where=str(self.source()), help=help)

    def _query(self, func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # Questions that the shape answers (sizes, strides, device, contiguity), and those only the values could.
        fakes = [self.value(arg).tensor if isinstance(arg, Tensor) else arg for arg in args]
        return self._run(func, tuple(fakes), kwargs, [SYMBOLIC])

    def _device(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.device:
        fake: Any = self.value(args[0]).tensor
        device: torch.device = fake.fake_device
        return device

    def _decompose(self, func: OpOverload, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with self:
            result = function(*args, **kwargs)
        return self._leaf(func, args, kwargs) if result is NotImplemented else result

    def source(self) -> Source:
        """Return where the running operator comes from."""
        return self._tracker.find_source()

    # Leaves: operators that become nodes.

    def _leaf(self, func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        node, result = self._emit(func, args, kwargs)
        if isinstance(result, Tensor):
            self.add_fresh(result, node)
        elif isinstance(result, (tuple, list)):
            for index, part in enumerate(result):
                if isinstance(part, Tensor):
                    self.add_fresh(part, self._getitem(node, index, part))
        return result

    def _view(self, func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        source = self.value(args[0])
        node_args, node_kwargs, result = self._evaluate(func, args, kwargs)
        if isinstance(result, Tensor) and source.key is not SYMBOLIC and describe(result) == source.key:
            # The same elements in the same places (detach, expand to its own shape): an object of its own, to autograd a view or not.
            same = self._add(result, source.storage, source.steps, self.node(source))
            same.twin = ViewStep(func if func is aten.detach.default else aten.alias.default, (), {})
            return result
        node = self._create(func, node_args, node_kwargs, result)
        if isinstance(result, Tensor):
            self._add_view(result, source, ViewStep(func, args[1:], kwargs), node)
        else:
            for index, part in enumerate(result):
                step = ViewStep(func, args[1:], kwargs, index)
                self._add_view(part, source, step, self._getitem(node, index, part))
        return result

    def _emit(self, func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Node, Any]:
        node_args, node_kwargs, result = self._evaluate(func, args, kwargs)
        return self._create(func, node_args, node_kwargs, result), result

    def _evaluate(
        self, func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any], Any]:
        key: list[object] = [func]
        node_args, fake_args = self._map(args, key)
        node_kwargs, fake_kwargs = self._map_keywords(kwargs, key)
        return node_args, node_kwargs, self._run(func, fake_args, fake_kwargs, key)

    def _create(self, func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> Node:
        node = self.graph.call_function(func, args, kwargs)
        node.meta["val"] = result
        node.meta["source"] = self.source()
        return node

    def _getitem(self, node: Node, index: int, part: Tensor) -> Node:
        item = self.graph.call_function(operator.getitem, (node, index))
        item.meta["val"] = part
        item.meta["source"] = node.meta["source"]
        return item

    def _run(self, func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], key: list[object]) -> Any:
        # Sizes that are symbols may be equal without being the same, so only static calls are remembered.
        frozen = None if SYMBOLIC in key else tuple(key)
        known = self._results.get(frozen) if frozen is not None else None
        if known is not None:
            return rebuild(self._fake_mode, known)
        try:
            with self._fake_mode:
                result = func(*args, **kwargs)
        except (DataDependentOutputException, DynamicOutputShapeException) as error:
            raise self._data_dependent(func, is_shape=isinstance(error, DynamicOutputShapeException)) from error
        except UnsupportedOperatorException as error:
            raise Unsupported(
                f"{func} has no rule for the shape of its result",
                where=str(self.source()),
                help="register one with torch.library.register_fake",
            ) from error
        if frozen is not None:
            template = make_template(result)
            if template is not None:
                self._results[frozen] = template
        return result

    def _data_dependent(self, func: OpOverload, *, is_shape: bool) -> DependsOnValues:
        if is_shape:
            what = f"the shape of the result of {func} depends on the values of a tensor"
        else:
            what = "Python code depends on the values of a tensor (item(), bool(tensor), int(tensor) or a branch on one)"
        return DependsOnValues(what, where=str(self.source()), help="torch.compile(module, backend='tcomp') splits the graph there")

    # Arguments: tensors to nodes and fakes, symbolic sizes to nodes.

    def _map(self, args: Sequence[Any], key: list[object]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        nodes = []
        fakes = []
        for arg in args:
            node, fake = self._map_one(arg, key)
            nodes.append(node)
            fakes.append(fake)
        return tuple(nodes), tuple(fakes)

    def _map_keywords(self, kwargs: dict[str, Any], key: list[object]) -> tuple[dict[str, Any], dict[str, Any]]:
        nodes = {}
        fakes = {}
        for name, arg in kwargs.items():
            key.append(name)
            nodes[name], fakes[name] = self._map_one(arg, key)
        return nodes, fakes

    def _map_one(self, arg: Any, key: list[object]) -> tuple[Any, Any]:
        if isinstance(arg, Tensor):
            value = self.value(arg)
            key.append(value.key)
            return self.node(value), value.tensor
        if isinstance(arg, (list, tuple)):
            key.append(len(arg))
            nodes, fakes = self._map(arg, key)
            return list(nodes), list(fakes)
        if isinstance(arg, (torch.SymInt, torch.SymFloat, torch.SymBool)):
            key.append(SYMBOLIC)
            return self._sizes.node(arg), arg
        # True, 1 and 1.0 are equal, and mean different dtypes; -0.0 equals 0.0, and NaN nothing.
        key.append((type(arg), repr(arg)) if isinstance(arg, (float, complex)) else (type(arg), arg))
        return arg, arg

    def value(self, tensor: Tensor) -> Value:
        """Return the value of a tensor; a real tensor not met before becomes a constant."""
        value = self._values.get(id(tensor))
        return value if value is not None else self._add_constant(tensor)

    def node(self, value: Value) -> Node:
        """Return the node with the present contents of a value."""
        if value.version != value.storage.version:
            tensor = self._snapshot(value.storage)
            node = value.storage.node
            for step in value.steps:
                with self:
                    result = step.op(tensor, *step.args, **step.kwargs)
                tensor = result if step.index is None else result[step.index]
                node = self.value(tensor).node
            value.node = node
            value.version = value.storage.version
        return value.node

    # Tensors the recorder knows.

    def add_input(self, fake: Tensor, index: int, node: Node) -> None:
        """Make `fake` stand for the flattened input `index`."""
        self.add_fresh(fake, node, InputOrigin(index))

    def add_fresh(self, fake: Tensor, node: Node, origin: Origin | None = None) -> Value:
        """Make `fake` stand for the result of `node`, in memory of its own or in that of an input or constant."""
        storage = Storage(node, fake, origin)
        if origin is not None:
            self.lasting.append(storage)
        return self._add(fake, storage, (), node)

    def _add_view(self, fake: Tensor, source: Value, step: ViewStep, node: Node) -> None:
        self._add(fake, source.storage, (*source.steps, step), node)

    def _add(self, fake: Tensor, storage: Storage, steps: tuple[ViewStep, ...], node: Node) -> Value:
        value = Value(fake, describe(fake), storage, steps, node, storage.version, node)
        self._values[id(fake)] = value
        self._alive.append(fake)
        return value

    def _add_constant(self, tensor: Tensor, *, is_literal: bool = False) -> Value:
        if isinstance(tensor, FakeTensor) or type(tensor) not in PLAIN_TENSORS:
            raise Unsupported(
                f"a tensor of type {type(tensor).__name__} that no recorded operator made",
                where=str(self.source()),
                help="use plain tensors, or torch.compile(module, backend='tcomp')",
            )
        name = self._names.get(id(tensor))
        target = name if name is not None else f"_lifted_{len(self.constants)}"
        fake = self.make_fake(tensor)
        node = self._get_attr(target, fake)
        self.constants[target] = tensor
        value = self.add_fresh(fake, node, None if is_literal else ConstantOrigin(target))
        self._values[id(tensor)] = value
        self._alive.append(tensor)
        return value

    def make_fake(self, tensor: Tensor) -> Any:
        """Return a fake of a real tensor, with fixed sizes, which shows its memory as it is: programs get tensors resolved."""
        if tensor.is_neg():
            tensor = torch._neg_view(tensor.detach())
        template = make_template(tensor)
        if template is None:
            return self._fake_mode.from_tensor(tensor.detach(), static_shapes=True)
        return rebuild(self._fake_mode, template)

    def _get_attr(self, target: str, fake: Tensor) -> Node:
        # Constants stand together behind the placeholders, in the order they were met.
        with self.graph.inserting_after(self._last_constant or self._sizes.last_placeholder()):
            node = self.graph.create_node("get_attr", target, (), {})
        node.meta["val"] = fake
        node.meta["source"] = self.source()
        self._last_constant = node
        return node

    # Writing in place.

    def _mutate(self, func: OpOverload, functional: Functional, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        targets = [kwargs[place] if isinstance(place, str) else args[place] for place in functional.written]
        keywords = {name: kwargs[name] for name in functional.keywords if name in kwargs}
        with self:
            result = functional.op(*args, *functional.defaults[len(args) :], **keywords)
        refuse_meetings(map(self.value, targets), [self._values.get(id(argument)) for argument in (*args, *kwargs.values())], self.source)
        for target, new in zip(targets, [result] if isinstance(result, Tensor) else list(result), strict=True):
            if not torch.can_cast(new.dtype, target.dtype):
                raise RuntimeError(f"result type {new.dtype} can't be cast to the desired output type {target.dtype}")
            if isinstance(functional.written[0], str) and target.shape != new.shape:
                raise Unsupported(f"{func} resizes its out= tensor", where=str(self.source()), help="assign the result")
            self.write(target, new)
        return targets[0] if len(targets) == 1 else tuple(targets)

    def write(self, target: Tensor, new: Tensor) -> None:
        """Make `new`, broadcast and converted as copy_ does, the contents of `target` and so of all that share memory."""
        value = self.value(target)
        fake = value.tensor
        snapshot = self._snapshot(value.storage) if value.steps else fake
        with self:
            if new.dtype != fake.dtype:
                new = aten._to_copy.default(new, dtype=fake.dtype)
            if new.shape != fake.shape:
                new = aten.expand.default(new, fake.shape)
            contents = new
            if value.steps:
                bases = [snapshot]
                for step in value.steps[:-1]:
                    part = step.op(bases[-1], *step.args, **step.kwargs)
                    bases.append(part if step.index is None else part[step.index])
                for step, base in zip(reversed(value.steps), reversed(bases), strict=True):
                    try:
                        new = undo_view(step, base, new)
                    except Unsupported as error:
                        raise Unsupported(error.what, where=str(self.source()), help=error.help) from error
        storage = value.storage
        storage.node = self.node(self.value(new))
        storage.version += 1
        value.node = self.node(self.value(contents))
        value.version = storage.version

    def _snapshot(self, storage: Storage) -> Tensor:
        """Return a tensor with the present contents of a storage that no later write reaches."""
        fake = self._twin(storage.base)
        self.add_fresh(fake, storage.node)
        return fake

    def _twin(self, fake: Tensor) -> Tensor:
        with self._fake_mode:
            twin: Tensor = aten.alias.default(fake)
        return twin

    # Operators with a handling of their own.

    def _copy(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        refuse_meetings([self.value(args[0])], [self._values.get(id(args[1]))], self.source)
        self.write(args[0], args[1])
        return args[0]

    def _lift_fresh(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # torch.tensor(...) in the module: a constant of the recording, and each call's own tensor.
        self._add_constant(args[0], is_literal=True)
        node, result = self._emit(aten.clone.default, (args[0],), {})
        self.add_fresh(result, node)
        self._literals[id(result)] = args[0]
        return result

    def _arange(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._arange_site = _find_call()
        return self._choose_plain(aten.arange.default)(args, kwargs)

    def _equal(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # one_hot compares with an arange where values are unknown, and looks at them in eager: one call makes both operators.
        if self._arange_site == _find_call():
            classes, numbers = args
            with self:
                is_class = aten.logical_and.default(aten.ge.Scalar(classes, 0), aten.lt.Scalar(classes, numbers.shape[0]))
                require(is_class, "class values must be non-negative and smaller than num_classes")
        return self._choose_plain(aten.eq.Tensor)(args, kwargs)

    def _item(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        value = self.value(args[0])
        literal = self._literals.get(id(value.tensor))
        if literal is None or value.storage.version:
            raise self._data_dependent(aten._local_scalar_dense.default, is_shape=False)
        return literal.item()

    def _nest(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        raise EagerOnly(
            "the module makes nested tensors of what is not padding, which eager alone does", where=str(self.source()),
            help="build the encoder with enable_nested_tensor=False, which computes what padding becomes instead of taking it out",
        )

    def _batch_norm(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # Its schema hides that it writes the running statistics.
        x, weight, bias, mean, variance, training, momentum, epsilon = args
        with self:
            if not training:
                return aten._native_batch_norm_legit_no_training.default(x, weight, bias, mean, variance, momentum, epsilon)
            if mean is None:
                return aten._native_batch_norm_legit.no_stats(x, weight, bias, True, momentum, epsilon)
            *results, new_mean, new_variance = aten._native_batch_norm_legit_functional.default(
                x, weight, bias, mean, variance, True, momentum, epsilon
            )
        self.write(mean, new_mean)
        self.write(variance, new_variance)
        return tuple(results)

    def _as_strided(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # It indexes the storage, whatever view it is called on; only a dense base makes that an index map.
        value = self.value(args[0])
        self._note_storage(value)
        size, stride, *rest = args[1:]
        offset = rest[0] if rest else kwargs.get("storage_offset")
        base = value.storage.base
        snapshot = self._snapshot(value.storage)
        if not base.is_contiguous() or snapshot.storage_offset() != base.storage_offset():
            self._refuse(aten.as_strided.default, "on memory that is not dense", "use view, select or slice", (), {})
        call = (size, stride, value.tensor.storage_offset() if offset is None else offset)
        node, result = self._emit(aten.as_strided.default, (snapshot, *call), {})
        self._add(result, value.storage, (ViewStep(aten.as_strided.default, call, {}),), node)
        return result

    def _as_strided_scatter(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._note_storage(self.value(args[0]))
        return self._leaf(aten.as_strided_scatter.default, args, kwargs)

    def _note_storage(self, value: Value) -> None:
        if isinstance(value.storage.origin, InputOrigin):
            self.read_storages.add(value.storage.origin.index)

    def _change_shape(self, func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # x.unsqueeze_(0): x itself becomes the view. The node that made it and its storage keep a tensor of the old shape.
        value = self.value(args[0])
        view: Any = getattr(torch.ops.aten, func._schema.name.split("::")[1].removesuffix("_"), None)
        if view is None or value.storage.origin is not None:
            self._refuse(func, "changes the shape of a tensor in place", "assign a view of it instead", args, kwargs)
        with self:
            viewed = self.value(view(*args, **kwargs))
        old = self._twin(value.tensor)
        if value.maker.meta["val"] is value.tensor:
            value.maker.meta["val"] = old
        if value.storage.base is value.tensor:
            value.storage.base = old
        with self._fake_mode:
            func(value.tensor, *args[1:], **kwargs)
        value.steps, value.node, value.version, value.key = viewed.steps, viewed.node, viewed.version, viewed.key
        return args[0]


def _find_call() -> tuple[FrameType, int]:
    """The call in the module's Python that dispatched the running operator."""
    frame = sys._getframe(3)
    return frame, frame.f_lasti


_SPECIAL: Mapping[OpOverload, Callable[..., Any]] = {
    aten.copy_.default: Recorder._copy,
    aten.arange.default: Recorder._arange,
    aten.eq.Tensor: Recorder._equal,
    aten.lift_fresh.default: Recorder._lift_fresh,
    aten._local_scalar_dense.default: Recorder._item,
    aten._nested_tensor_from_mask_left_aligned.default: Recorder._nest,
    aten._nested_tensor_from_mask.default: Recorder._nest,
    aten.native_batch_norm.default: Recorder._batch_norm,
    aten.as_strided.default: Recorder._as_strided,
    aten.as_strided_scatter.default: Recorder._as_strided_scatter,
    torch.ops.prim.device.default: Recorder._device,
}


_TENSORS = (torch.TensorType, torch.ListType)
PLAIN_TENSORS = (Tensor, torch.nn.Parameter, torch.nn.Buffer)
