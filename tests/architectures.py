"""Every architecture of the transformers package, small and with random weights, and inputs to call it with.

Nothing here is about one model: sizes are made small by the names that configurations share (`hidden_size`, `num_hidden_layers`,
`vocab_size`, and the same within `text_config`, `vision_config` and the like), and inputs follow from `main_input_name`, the signature
of `forward` and the sizes in the configuration. Where the first try does not run in eager, coarser ones follow.
"""

import inspect
import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy
import torch
import transformers
import transformers.models.bert.modeling_bert  # what all models import; here processes share it
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_MAPPING_NAMES

SEED = 1234
MOST_PARAMETERS = 100_000_000
MOST_SECONDS = 10
"""Of processors, that a call in eager may take: what takes longer is not small."""
MOST_BUILDING = 30
"""Seconds of processors after which no other way of making an architecture small is tried."""
BATCH, LENGTH = 2, 16


@dataclass(frozen=True)
class Built:
    """A model in evaluation mode, the keyword arguments of a call of it, and how it was made small."""

    model: nn.Module
    inputs: dict[str, Any]
    how: str


class NotBuilt(Exception):  # noqa: N818 (says what happened)
    """No try gave a model that runs in eager."""


@dataclass(frozen=True)
class Shrink:
    """A way of making configurations small: what to do with whole numbers, by the names of attributes; the first that fits counts."""

    name: str
    rules: tuple[tuple[str, Callable[[int], int]], ...] = field(repr=False)
    picks_layers: bool = True
    """Whether lists that say which layers are of a kind name the last one of two."""

    def number(self, name: str, value: int) -> int:
        for pattern, change in self.rules:
            if re.fullmatch(pattern, name):
                return change(value)
        return value


def _most(limit: int) -> Callable[[int], int]:
    return lambda value: min(value, limit)


_COUNTS: tuple[tuple[str, Callable[[int], int]], ...] = (
    (r".*vocab_size.*|.*num_embeddings|.*codebook_size|.*type_vocab.*", _most(256)),
    (r"(?!.*(kernel|feat_extract)).*(_layers?|n_layers?|num_blocks|depth|num_layers_per_.*)", _most(2)),
    (r".*(max_position_embeddings|n_positions|max_length|max_seq_len.*|_(source|target)_positions|n_ctx|block_size)", _most(512)),
    (r".*(num_experts|n_routed_experts|num_local_experts|moe_num_experts)", _most(4)),
    (r".*(num_experts_per_tok|num_experts_per_token|moe_top_?k|moe_k|router_top_k)", _most(2)),
    (r".*(n_group|topk_group)", _most(1)),
    (r".*(num_queries|num_labels|num_latents)", _most(16)),
)
_WIDTHS: tuple[tuple[str, Callable[[int], int]], ...] = (
    (r".*(lora_rank|rotary_dim)", _most(16)),
    (r".*(num_key_value_heads|num_kv_heads|n_head_kv)", _most(2)),
    (r".*(num_attention_heads|num_heads|n_heads?|attention_heads|num_.*_heads)", lambda value: 4 if value >= 4 else value),
    (r".*(head_dim|d_kv|qk_nope_head_dim|v_head_dim|kv_channels|head_size|qk_rope_head_dim)", _most(16)),
    (r".*(intermediate_size|ffn_dim|d_ff|d_inner|n_inner|mlp_dim|ffn_hidden_size|feedforward_dim|intermediate_dim)", _most(128)),
    (r".*(hidden_size|d_model|n_embd|d_embed|embedding_size|embed_size|dim|hidden_channels|lru_width)", _most(64)),
)
_IMAGES: tuple[tuple[str, Callable[[int], int]], ...] = ((r"(image_size|input_size)(\[\])?", _most(64)),)
_PICKED = r".*(indices|_layers|layer_ids|_idxs?)"
_STAGES: tuple[tuple[str, Callable[[int], int]], ...] = (
    (r"(depths?|.*blocks_per_stage|stage_num_blocks|stage_numb_of_layers|num_block_repeats)\[\]", _most(1)),
    (r"(conv_dim|tdnn_dim)\[\]", _most(32)),
)
"""Of the numbers in lists, whose names end in []."""
_MORE_LAYERS = ((r"(?!.*(kernel|feat_extract)).*(_layers?|n_layers?|num_blocks|depth|num_layers_per_.*)", _most(8)),)
"""Where layers of several kinds alternate."""

SHRINKS = (
    Shrink("narrow", (*_COUNTS, *_WIDTHS, *_IMAGES, *_STAGES)),
    Shrink("narrow, lists as they are", (*_COUNTS, *_WIDTHS, *_IMAGES), picks_layers=False),
    Shrink("narrow, eight layers", (*_MORE_LAYERS, *_COUNTS, *_WIDTHS, *_IMAGES), picks_layers=False),
    Shrink("narrow, images of their size", (*_COUNTS, *_WIDTHS, *_STAGES)),
    Shrink("shallow", (*_COUNTS, *_IMAGES)),
    Shrink("shallow, images of their size", _COUNTS),
    Shrink("as it is", ()),
)


def list_architectures() -> list[str]:
    """The model types of which transformers has a bare model, in its own order."""
    return list(MODEL_MAPPING_NAMES)


def list_generators() -> list[str]:
    """The model types that continue texts."""
    return list(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def build(kind: str, *, generates: bool = False) -> Built:
    """A small model of a type that runs in eager, with a head that continues texts if it `generates`; raises NotBuilt with the reasons."""
    transformers.logging.set_verbosity_error()
    reasons: list[str] = []
    began = time.process_time()
    for shrink in SHRINKS:
        if time.process_time() - began > MOST_BUILDING:
            reasons.append(f"tries took more than {MOST_BUILDING} s")
            break
        try:
            config = make_config(CONFIG_MAPPING[kind], shrink)
            cls = (MODEL_FOR_CAUSAL_LM_MAPPING if generates else MODEL_MAPPING)[type(config)]
            cls = cls[0] if isinstance(cls, (tuple, list)) else cls
            model = _make_model(cls, config)
        # Whatever a configuration or a constructor raises, another way may fit.
        except Exception as error:  # noqa: BLE001
            reasons.append(f"{shrink.name}: {describe_error(error)}")
            continue
        for inputs in make_inputs(model):
            try:
                seed()
                started = time.process_time()
                with torch.no_grad():
                    model(**inputs)
            except Exception as error:  # noqa: BLE001
                reasons.append(f"{shrink.name}, {', '.join(inputs)}: {describe_error(error)}")
                continue
            if time.process_time() - started > MOST_SECONDS:
                reasons.append(f"{shrink.name}, {', '.join(inputs)}: a call takes more than {MOST_SECONDS} s")
                break
            return Built(model, inputs, shrink.name)
    raise NotBuilt("; ".join(dict.fromkeys(reasons)) or "it takes inputs of which nothing is known")


def seed() -> None:
    torch.manual_seed(SEED)
    numpy.random.seed(SEED)
    random.seed(SEED)


def describe_error(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _make_model(cls: type[nn.Module], config: Any) -> nn.Module:
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in cls(config).parameters())
    if count > MOST_PARAMETERS:
        raise NotBuilt(f"{count / 1e6:.0f} million parameters")
    seed()
    model = cls(config).eval().requires_grad_(False)
    for parameter in model.parameters():
        # Routers of nothing but zeros find all experts alike, and which of them top-k takes is chance.
        if parameter.dim() > 1 and not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    return model


# Configurations.


def make_config(cls: type, shrink: Shrink) -> Any:
    """A configuration with small sizes; what follows from them is computed by its own constructor."""
    return cls(**_shrink_attributes(cls(), shrink))


def _shrink_attributes(config: Any, shrink: Shrink) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    for name, value in vars(config).items():
        if hasattr(value, "to_dict") and hasattr(value, "model_type"):
            small = type(value)(**_shrink_attributes(value, shrink))
            changed[name] = small.to_dict() if name in type(config).sub_configs else small
        elif shrink.picks_layers and shrink.rules and isinstance(value, list) and re.fullmatch(_PICKED, name):
            # Which layers are of a kind: of two layers the last one.
            changed[name] = [1]
        elif isinstance(value, (list, tuple)) and value and all(type(item) is int for item in value):
            small = type(value)(shrink.number(f"{name}[]", item) for item in value)
            if small != value:
                changed[name] = small
        elif isinstance(value, int) and not isinstance(value, bool):
            # Heads of keys that are as many as those of queries stay so.
            is_shared = "key_value" in name and value == getattr(config, "num_attention_heads", None)
            small = shrink.number("num_attention_heads" if is_shared else name, value)
            if name.endswith("token_id") and shrink.rules:
                small = value % 256
            if small != value:
                changed[name] = small
    return changed


# Inputs.


def make_inputs(model: nn.Module) -> Iterator[dict[str, Any]]:
    """Inputs to try, the plainest first."""
    parameters = list(inspect.signature(model.forward).parameters.values())
    names = [p.name for p in parameters]
    required = [p.name for p in parameters if p.default is inspect.Parameter.empty and p.kind is not inspect.Parameter.VAR_KEYWORD]
    main = [model.main_input_name] if isinstance(model.main_input_name, str) else list(model.main_input_name)
    first = [name for name in dict.fromkeys([*main, *required]) if name in names or name in main]
    decoder = [name for name in ("decoder_input_ids",) if name in names and "decoder_input_ids" not in first]
    rest = [name for name in names if name in _MAKERS and name not in first + decoder]
    wanted = [first + decoder, first, first + decoder + rest] + [first + decoder + [name] for name in rest]
    for chosen in wanted:
        for variant in range(4):
            inputs = {}
            for name in chosen:
                made = _MAKERS[name](model.config) if name in _MAKERS else []
                if variant and len(made) == 1:
                    inputs[name] = made[0]
                elif variant < len(made):
                    inputs[name] = made[variant]
            if len(inputs) == len(chosen) and (not variant or any(len(_MAKERS[name](model.config)) > 1 for name in chosen)):
                yield inputs


def _find(config: Any, *names: str, default: Any = None) -> Any:
    """The value of the first attribute that a configuration, or one within it, has."""
    for name in names:
        value = getattr(config, name, None)
        if value is not None:
            return value
    for value in vars(config).values():
        if hasattr(value, "to_dict") and hasattr(value, "model_type"):
            found = _find(value, *names)
            if found is not None:
                return found
    return default


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(SEED)


def _draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=_generator())


def _ids(config: Any) -> list[Tensor]:
    count = min(_find(config, "vocab_size", default=100), 100)
    return [torch.randint(min(3, count - 1), count, (BATCH, LENGTH), generator=_generator())]


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)[-2:]


def _images(config: Any) -> list[Tensor]:
    vision = getattr(config, "vision_config", config)
    height, width = _pair(_find(vision, "image_size", "input_size", default=64))
    channels = _find(vision, "num_channels", "in_channels", "in_chans", default=3)
    frames = _find(vision, "num_frames", default=2)
    return [_draw(BATCH, channels, height, width), _draw(BATCH, frames, channels, height, width), _draw(BATCH, channels, 224, 224)]


def _sound(config: Any) -> list[Tensor]:
    bins = _find(config, "num_mel_bins", "feature_size", "num_mels", "input_feat_per_channel", "n_mels", default=80)
    length, most = 2 * _find(config, "max_source_positions", default=64), _find(config, "max_length", default=128)
    return [_draw(BATCH, bins, length), _draw(BATCH, 64, bins), _draw(BATCH, 1, most, bins), _draw(BATCH, most, bins)]


def _wave(config: Any) -> list[Tensor]:
    return [_draw(BATCH, 4000), _draw(BATCH, 1, 4000), *_sound(config)[2:]]


def _mask(config: Any) -> list[Tensor]:
    return [torch.ones(BATCH, LENGTH, dtype=torch.int64)]


def _boxes(config: Any) -> list[Tensor]:
    corners = torch.randint(0, 50, (BATCH, LENGTH, 2), generator=_generator())
    return [torch.cat([corners, corners + 10], -1)]


_MAKERS: dict[str, Callable[[Any], list[Tensor]]] = {
    "input_ids": _ids,
    "decoder_input_ids": _ids,
    "pixel_values": _images,
    "pixel_values_videos": lambda config: _images(config)[1:2],
    "input_values": _wave,
    "input_features": _sound,
    "audio_values": _wave,
    "spectrogram": lambda config: _sound(config)[1:],
    "attention_mask": _mask,
    "bbox": _boxes,
}
