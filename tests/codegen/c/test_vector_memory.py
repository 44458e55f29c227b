"""Loads, stores, conversions, reductions, comparisons and integer operations of codegen/c/support agree with numpy and torch."""

import ctypes
import mmap
import struct

import numpy as np
import pytest
import torch

from tests.vector_library import build, compiler, instruction_sets

pytestmark = pytest.mark.skipif(not compiler(), reason="no C compiler")
STORAGE = {
    "vf32": np.float32,
    "vf64": np.float64,
    "vi32": np.int32,
    "vi64": np.int64,
    "vu16": np.uint16,
    "vi16": np.int16,
    "vu8": np.uint8,
    "vi8": np.int8,
    "vf32_bf16": np.uint16,
    "vf32_f16": np.uint16,
    "vf32_f64": np.float64,
    "vi32_u8": np.uint8,
    "vi32_i8": np.int8,
    "vi32_i16": np.int16,
    "vi32_u16": np.uint16,
    "vi32_i64": np.int64,
    "vi32_bool": np.uint8,
}
LANE_BYTES = {"vf64": 8, "vi64": 8, "vu16": 2, "vi16": 2, "vu8": 1, "vi8": 1}
ELEMENTS = {"f32": np.float32, "f64": np.float64, "i32": np.int32, "i64": np.int64}
FLOAT_SPECIALS = (0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 2.5, -2.5, 1e-40)


@pytest.fixture(scope="module", params=instruction_sets())
def library(request):
    return build("vector_memory_harness.c", request.param)


def call(function, *arguments):
    """Call a C function with arrays as pointers and integers as int64."""
    function(*(ctypes.c_void_p(a.ctypes.data) if isinstance(a, np.ndarray) else ctypes.c_int64(a) for a in arguments))


def pairs(kind, count=64):
    """Operands that meet all pairs of special values, then drawn ones."""
    draw = np.random.default_rng(0)
    if kind.startswith("f"):
        special, drawn = FLOAT_SPECIALS, draw.normal(size=2 * count) * 8
    else:
        info = np.iinfo(ELEMENTS[kind])
        special, drawn = (0, 1, -1, 2, -2, 7, -7, info.max, info.min, 100), draw.integers(-20, 20, size=2 * count)
    a, b = (np.array(side, ELEMENTS[kind]) for side in zip(*((x, y) for x in special for y in special), strict=True))
    a, b = np.concatenate([a, drawn[:count].astype(a.dtype)]), np.concatenate([b, drawn[count:].astype(a.dtype)])
    size = len(a) // 16 * 16
    return a[:size].copy(), b[:size].copy()


@pytest.mark.parametrize("name", STORAGE)
def test_parts_copy_n_elements_and_touch_no_other(library, name):
    element = np.dtype(STORAGE[name])
    values = np.arange(1, 70).astype(element) % (2 if name.endswith("bool") else 120)
    for count in range(40):
        target = np.full(80, 77, element)
        call(library[f"copy_{name}"], values, target, count)
        np.testing.assert_array_equal(target[:count], values[:count])
        assert (target[count:] == 77).all()


@pytest.mark.parametrize("name", STORAGE)
def test_parts_read_nothing_beyond_and_fill_with_zero(library, name):
    element = np.dtype(STORAGE[name])
    page = mmap.PAGESIZE
    pages = mmap.mmap(-1, 2 * page)
    memory = np.frombuffer(pages, np.uint8)
    start = memory.ctypes.data
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mprotect(ctypes.c_void_p(start + page), ctypes.c_size_t(page), 0) == 0
    lane = np.dtype(f"u{LANE_BYTES.get(name, 4)}")
    for count in range(library.lanes() + 1):
        memory[:page] = 0x40
        target = np.full(16, 99, lane)
        library[f"part_{name}"](
            ctypes.c_void_p(start + page - count * element.itemsize), ctypes.c_void_p(target.ctypes.data), ctypes.c_int64(count)
        )
        assert (target[:count] != 0).all()
        assert (target[count : library.lanes()] == 0).all()
    assert libc.mprotect(ctypes.c_void_p(start + page), ctypes.c_size_t(page), 3) == 0


@pytest.mark.parametrize("name", ["vf32", "vf64", "vi32", "vi64"])
def test_pairs_are_taken_apart_and_put_together_and_no_others_touched(library, name):
    values = np.arange(1, 141).astype(STORAGE[name])
    for count in range(50):
        target = np.full(140, 177, values.dtype)
        call(library[f"swap_pairs_{name}"], values, target, count)
        np.testing.assert_array_equal(target[: 2 * count].reshape(-1, 2), values[: 2 * count].reshape(-1, 2)[:, ::-1])
        assert (target[2 * count :] == 177).all()


@pytest.mark.parametrize("name", ["vf32", "vf64", "vi32", "vi64"])
def test_parts_of_pairs_read_nothing_beyond_and_fill_with_zero(library, name):
    element = np.dtype(STORAGE[name])
    lanes, page = library.lanes(), mmap.PAGESIZE
    memory = np.frombuffer(mmap.mmap(-1, 2 * page), np.uint8)
    start = memory.ctypes.data
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mprotect(ctypes.c_void_p(start + page), ctypes.c_size_t(page), 0) == 0
    for count in range(lanes + 1):
        pairs = memory[page - 2 * count * element.itemsize : page].view(element).reshape(-1, 2)
        pairs[...] = np.arange(1, 2 * count + 1).reshape(-1, 2)
        target = np.full((2, lanes), 99, element)
        library[f"part_of_pairs_{name}"](
            ctypes.c_void_p(start + page - 2 * count * element.itemsize), ctypes.c_void_p(target.ctypes.data), ctypes.c_int64(count)
        )
        np.testing.assert_array_equal(target[:, :count], pairs.T)
        assert (target[:, count:] == 0).all()
    assert libc.mprotect(ctypes.c_void_p(start + page), ctypes.c_size_t(page), 3) == 0


@pytest.mark.parametrize(("name", "dtype"), [("vf32_bf16", torch.bfloat16), ("vf32_f16", torch.float16)])
def test_every_half_precision_value_decodes_and_encodes_back(library, name, dtype):
    bits = np.arange(1 << 16, dtype=np.uint16)
    lanes, scalars = np.empty((2, 1 << 16), np.float32)
    call(library[f"decode_{name}"], bits, lanes, scalars, 1 << 16)
    exact = torch.from_numpy(bits.view(np.int16)).view(dtype).float().numpy()
    np.testing.assert_array_equal(lanes, exact)
    np.testing.assert_array_equal(np.signbit(lanes), np.signbit(exact))
    np.testing.assert_array_equal(lanes, scalars)
    back, back_scalars = np.empty((2, 1 << 16), np.uint16)
    call(library[f"encode_{name}"], lanes, back, back_scalars, 1 << 16)
    number = ~np.isnan(exact)
    np.testing.assert_array_equal(back[number], bits[number])
    np.testing.assert_array_equal(back, back_scalars)


@pytest.mark.parametrize(("name", "dtype"), [("vf32_bf16", torch.bfloat16), ("vf32_f16", torch.float16)])
def test_half_precision_stores_round_to_nearest_even_and_keep_nan(library, name, dtype):
    patterns = np.arange(0, 1 << 32, 4093, dtype=np.uint64).astype(np.uint32)
    halves = np.arange(1 << 16, dtype=np.uint32) << 16
    ties = (np.arange(1 << 18, dtype=np.uint32) << 12) + 0x38000000
    patterns = np.concatenate([patterns, halves + 0x8000, halves + 0x7FFF, halves + 0x8001, ties, ties + 1, ties - 1])
    patterns = patterns[: len(patterns) // 16 * 16]
    values = patterns.view(np.float32)
    lanes, scalars = np.empty((2, len(values)), np.uint16)
    call(library[f"encode_{name}"], values.copy(), lanes, scalars, len(values))
    expected = torch.from_numpy(values.copy()).to(dtype)
    got = torch.from_numpy(lanes.view(np.int16)).view(dtype)
    assert torch.equal(got.isnan(), expected.isnan())
    number = ~expected.isnan()
    assert torch.equal(got.view(torch.int16)[number], expected.view(torch.int16)[number])
    np.testing.assert_array_equal(lanes, scalars)


@pytest.mark.parametrize("name", ["vi32_u8", "vi32_i8", "vi32_i16", "vi32_u16"])
def test_narrow_integers_widen_by_their_sign(library, name):
    values = np.arange(256, dtype=np.uint16).astype(STORAGE[name]) if "8" in name else np.arange(1 << 16).astype(STORAGE[name])
    wide = np.empty(len(values), np.int32)
    call(library[f"widen_{name}"], values, wide, len(values))
    np.testing.assert_array_equal(wide, values.astype(np.int32))


def test_bools_become_masks(library):
    values = (np.arange(32) % 3 == 0).astype(np.uint8)
    masks = np.empty(32, np.int32)
    call(library.widen_vi32_bool, values, masks, 32)
    np.testing.assert_array_equal(masks, -values.astype(np.int32))


@pytest.mark.parametrize(("kind", "nan_at"), [*((kind, None) for kind in ELEMENTS), ("f32", 0), ("f32", 3), ("f64", 0), ("f64", 3)])
def test_reductions(library, kind, nan_at):
    count = library.lanes()
    x = np.array([3, -1, 2, 5, -4, 1, 2, -2, 6, -3, 1, 1, 2, -1, 4, 3][:count], ELEMENTS[kind])
    if nan_at is not None:
        x[nan_at] = np.nan
    got = np.empty(4, ELEMENTS[kind])
    call(library[f"reduce_v{kind}"], x, got)
    np.testing.assert_array_equal(got, np.array([x.sum(), x.prod(), x.max(), x.min()], ELEMENTS[kind]))


@pytest.mark.parametrize(
    ("kind", "name", "reference"),
    [
        *((kind, name, reference) for kind in ELEMENTS for name, reference in (("max", np.maximum), ("min", np.minimum))),
        *((kind, name, reference) for kind in ("f32", "f64") for name, reference in (("fmax", np.fmax), ("fmin", np.fmin))),
    ],
)
def test_order(library, kind, name, reference):
    a, b = pairs(kind)
    lanes, scalars = np.empty_like(a), np.empty_like(a)
    call(library[f"{name}_{kind}"], a, b, lanes, scalars, len(a))
    np.testing.assert_array_equal(lanes, reference(a, b))
    np.testing.assert_array_equal(scalars, reference(a, b))


@pytest.mark.parametrize("kind", ELEMENTS)
def test_comparisons_and_selection(library, kind):
    a, b = pairs(kind)
    bits = np.empty(len(a), np.int32)
    call(library[f"compare_{kind}"], a, b, bits, len(a))
    expected = sum(relation.astype(np.int32) << k for k, relation in enumerate((a < b, a <= b, a > b, a >= b, a == b, a != b)))
    np.testing.assert_array_equal(bits, expected)


@pytest.mark.parametrize("kind", ["f32", "f64"])
def test_copysign(library, kind):
    a, b = pairs(kind)
    lanes, scalars = np.empty_like(a), np.empty_like(a)
    call(library[f"copysign_{kind}"], a, b, lanes, scalars, len(a))
    np.testing.assert_array_equal(lanes, np.copysign(a, b))
    np.testing.assert_array_equal(np.signbit(lanes), np.signbit(b))
    np.testing.assert_array_equal(np.signbit(scalars), np.signbit(b))


@pytest.mark.parametrize("name", ["fmod", "remainder"])
def test_f64_division_with_remainder_follows_torch(library, name):
    a, b = pairs("f64")
    lanes, scalars = np.empty_like(a), np.empty_like(a)
    call(library[f"{name}_f64"], a, b, lanes, scalars, len(a))
    np.testing.assert_array_equal(lanes, scalars)
    np.testing.assert_array_equal(lanes, getattr(torch, name)(torch.from_numpy(a), torch.from_numpy(b)).numpy())


@pytest.mark.parametrize("kind", ["i32", "i64"])
@pytest.mark.parametrize("name", ["trunc_divide", "floor_divide", "fmod", "remainder"])
def test_integer_division_follows_torch_and_never_traps(library, kind, name):
    a, b = pairs(kind)
    lanes, scalars = np.empty_like(a), np.empty_like(a)
    call(library[f"{name}_{kind}"], a, b, lanes, scalars, len(a))
    np.testing.assert_array_equal(lanes, scalars)
    smallest = np.iinfo(a.dtype).min
    overflow = (a == smallest) & (b == -1)
    safe = (b != 0) & ~overflow
    x, y = torch.from_numpy(a[safe]), torch.from_numpy(b[safe])
    mode = {"trunc_divide": "trunc", "floor_divide": "floor"}.get(name)
    expected = torch.div(x, y, rounding_mode=mode) if mode else getattr(torch, name)(x, y)
    np.testing.assert_array_equal(lanes[safe], expected.numpy())
    assert (lanes[b == 0] == 0).all()
    assert (lanes[overflow] == (smallest if mode else 0)).all()


@pytest.mark.parametrize(("to", "source"), [(to, source) for to in ELEMENTS for source in ELEMENTS if to != source])
def test_conversions(library, to, source):
    values = np.array([0, 1, -1, 2.75, -2.75, 100000.5, -7, 16777217, 3, 4, 5, 6, 7, 8, 9, -0.5]).astype(ELEMENTS[source])
    lanes, scalars = np.empty((2, 16), ELEMENTS[to])
    call(library[f"convert_{to}_{source}"], values, lanes, scalars, 16)
    np.testing.assert_array_equal(lanes, values.astype(ELEMENTS[to]))
    np.testing.assert_array_equal(scalars, lanes)


@pytest.mark.parametrize("kind", ELEMENTS)
@pytest.mark.parametrize("index", ["i32", "i64"])
def test_gathers_read_where_the_mask_is_true(library, kind, index):
    count = library.lanes()
    base = np.arange(1000, 1100).astype(ELEMENTS[kind])
    at = ((np.arange(16) * 37) % 100).astype(ELEMENTS[index])
    mask = -(np.arange(16) % 2 == 0).astype(np.int32)
    wild = np.where(mask == 0, np.iinfo(np.int32).max, at).astype(ELEMENTS[index])  # reading there would crash
    whole, masked = np.empty((2, 16), ELEMENTS[kind])
    call(library[f"gather_{kind}_{index}"], base, at, wild, mask, whole, masked)
    np.testing.assert_array_equal(whole[:count], base[at[:count]])
    np.testing.assert_array_equal(masked[:count], np.where(mask, base[at], 0)[:count])


def test_any_and_all(library):
    count = library.lanes()
    assert [bool(library.any_of_first(ctypes.c_int64(n))) for n in range(count + 1)] == [False] + [True] * count
    assert [bool(library.all_of_first(ctypes.c_int64(n))) for n in range(count + 1)] == [False] * count + [True]


def test_clamp_keeps_nan(library):
    x = np.array([np.nan, -5, 5, 0.5] * 4, np.float32)
    out = np.empty_like(x)
    library.clamp_f32(ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(out.ctypes.data), ctypes.c_float(-1), ctypes.c_float(2))
    np.testing.assert_array_equal(out[: library.lanes()], np.array([np.nan, -1, 2, 0.5] * 4, np.float32)[: library.lanes()])


def test_flush_to_zero_holds_between_enter_and_leave(library):
    products = np.empty(3, np.float32)
    call(library.flush, np.array([1e-30], np.float32), np.array([1e-10], np.float32), products)
    denormal = struct.unpack("f", struct.pack("f", 1e-40))[0]
    assert products.tolist() == [denormal, 0.0, denormal]


def test_f16_denormals_survive_flush_to_zero(library):
    bits = np.array([1, 2, 3, 0x3FF, 0x8001, 0x400, 0x3C00, 0] * 2, np.uint16)
    out = np.empty(16, np.float32)
    call(library.flushed_decode_f16, bits, out)
    count = library.lanes()
    np.testing.assert_array_equal(out[:count], bits.view(np.float16).astype(np.float32)[:count])
