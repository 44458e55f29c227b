"""The table of the zoo: one small function a model, its full size as defaults, its small size beside it."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tcomp.ir.errors import TcompError

Size = Literal["full", "small"]
Built = tuple[nn.Module, tuple[Tensor, ...]]


class Outputs(nn.Module):
    """Calls a transformers model and returns named tensors of its output object: one as it is, several as a tuple."""

    def __init__(self, model: nn.Module, *names: str) -> None:
        super().__init__()
        self.model = model
        self.names = names

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Run the model on positional inputs."""
        result = self.model(*inputs)
        outputs = tuple(getattr(result, name) for name in self.names)
        return outputs[0] if len(outputs) == 1 else outputs


def build(name: str, dtype: torch.dtype = torch.float32, seed: int = 0, size: Size = "full") -> Built:
    """Build a model of the zoo in eval mode with example inputs; equal seeds give equal weights and inputs.

    `size="small"` gives the same structure with fewer and narrower layers, for tests. The process's random state is
    left as it was. Raises TcompError for an unknown name or size, or where transformers is not installed.
    """
    if name not in _ENTRIES:
        raise TcompError(f"the zoo has no model {name!r}", help=f"its models are: {', '.join(NAMES)}")
    if size not in ("full", "small"):
        raise TcompError(f"the size of a zoo model is 'full' or 'small', not {size!r}", where=f"zoo:{name}")
    entry = _ENTRIES[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module, inputs = entry.make(**(entry.small if size == "small" else {}))
    module = module.eval().to(dtype)
    return module, tuple(value.to(dtype) if value.is_floating_point() else value for value in inputs)


def describe(name: str) -> str:
    """Return one line on what a model of the zoo is, sizes included."""
    return _ENTRIES[name].summary


@dataclass(frozen=True, slots=True)
class _Entry:
    summary: str
    make: Callable[..., Built]
    small: Mapping[str, object]


def _make_mlp(batch: int = 64, width: int = 512, hidden: int = 2048) -> Built:
    layers = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
    return layers, (torch.randn(batch, width),)


def _make_bert(tokens: int = 128, **sizes: int) -> Built:
    library = _import_transformers()
    config = library.BertConfig(**sizes, attn_implementation="eager", use_cache=False)
    model = Outputs(library.BertModel(config), "last_hidden_state", "pooler_output")
    return model, (_draw_tokens(config.vocab_size, tokens),)


def _make_gpt2(tokens: int = 128, **sizes: int) -> Built:
    library = _import_transformers()
    config = library.GPT2Config(**sizes, attn_implementation="eager", use_cache=False)
    return Outputs(library.GPT2LMHeadModel(config), "logits"), (_draw_tokens(config.vocab_size, tokens),)


def _make_llama(
    tokens: int = 256,
    hidden_size: int = 512,
    num_hidden_layers: int = 8,
    num_attention_heads: int = 8,
    num_key_value_heads: int = 4,
    intermediate_size: int = 1376,
    vocab_size: int = 8000,
) -> Built:
    library = _import_transformers()
    config = library.LlamaConfig(
        hidden_size=hidden_size,
        num_hidden_layers=num_hidden_layers,
        num_attention_heads=num_attention_heads,
        num_key_value_heads=num_key_value_heads,
        intermediate_size=intermediate_size,
        vocab_size=vocab_size,
        attn_implementation="eager",
        use_cache=False,
    )
    return Outputs(library.LlamaForCausalLM(config), "logits"), (_draw_tokens(vocab_size, tokens),)


def _make_resnet50(pixels: int = 224, **sizes: Any) -> Built:
    library = _import_transformers()
    config = library.ResNetConfig(**{"num_labels": 1000, **sizes})
    return Outputs(library.ResNetForImageClassification(config), "logits"), (torch.randn(1, 3, pixels, pixels),)


def _make_mobilenetv2(pixels: int = 224, **sizes: Any) -> Built:
    library = _import_transformers()
    config = library.MobileNetV2Config(**{"num_labels": 1001, **sizes}, image_size=pixels)
    return Outputs(library.MobileNetV2ForImageClassification(config), "logits"), (torch.randn(1, 3, pixels, pixels),)


def _make_vit(pixels: int = 224, **sizes: Any) -> Built:
    library = _import_transformers()
    config = library.ViTConfig(**{"num_labels": 1000, **sizes}, image_size=pixels, attn_implementation="eager")
    return Outputs(library.ViTForImageClassification(config), "logits"), (torch.randn(1, 3, pixels, pixels),)


def _make_convnext(pixels: int = 224, **sizes: Any) -> Built:
    library = _import_transformers()
    config = library.ConvNextConfig(**{"num_labels": 1000, **sizes}, image_size=pixels)
    return Outputs(library.ConvNextForImageClassification(config), "logits"), (torch.randn(1, 3, pixels, pixels),)


def _make_whisper(frames: int = 3000, **sizes: int) -> Built:
    library = _import_transformers()
    # The second convolution has stride 2, and the encoder insists on exactly this many positions.
    sizes = {"max_source_positions": frames // 2, "decoder_layers": 0, **sizes}
    config = library.WhisperConfig(**sizes, attn_implementation="eager")
    encoder = library.WhisperModel(config).encoder
    return Outputs(encoder, "last_hidden_state"), (torch.randn(1, config.num_mel_bins, frames),)


def _make_mamba(tokens: int = 128, hidden_size: int = 256, num_hidden_layers: int = 4, **sizes: int) -> Built:
    library = _import_transformers()
    config = library.MambaConfig(
        hidden_size=hidden_size, num_hidden_layers=num_hidden_layers, **sizes, use_cache=False, use_mambapy=False
    )
    return Outputs(library.MambaModel(config), "last_hidden_state"), (_draw_tokens(config.vocab_size, tokens),)


def _draw_tokens(vocabulary: int, tokens: int) -> Tensor:
    return torch.randint(vocabulary, (1, tokens))


def _import_transformers() -> Any:
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise TcompError(
            "this model of the zoo needs the package transformers, which cannot be imported",
            where=str(error),
            help="pip install 'tcomp[zoo]'",
        ) from error


_ENTRIES: Mapping[str, _Entry] = {
    "mlp": _Entry("64x512-2048-512 with GELU", _make_mlp, {"batch": 8, "width": 32, "hidden": 64}),
    "bert": _Entry(
        "bert-base, 128 tokens",
        _make_bert,
        {
            "tokens": 16,
            "vocab_size": 101,
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 128,
        },
    ),
    "gpt2": _Entry(
        "gpt2 with language model head, 128 tokens",
        _make_gpt2,
        {
            "tokens": 16,
            "vocab_size": 101,
            "n_embd": 64,
            "n_layer": 2,
            "n_head": 4,
            "n_positions": 32,
            "bos_token_id": 0,
            "eos_token_id": 0,
        },
    ),
    "llama": _Entry(
        "llama of 8 layers, hidden 512, 8 heads over 4 keys, 256 tokens",
        _make_llama,
        {
            "tokens": 24,
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "intermediate_size": 172,
            "vocab_size": 101,
        },
    ),
    "resnet50": _Entry(
        "resnet50, 224x224",
        _make_resnet50,
        {
            "pixels": 64,
            "num_labels": 10,
            "embedding_size": 16,
            "hidden_sizes": [32, 48, 64, 96],
            "depths": [1, 2, 1, 1],
        },
    ),
    "mobilenetv2": _Entry(
        "mobilenetv2 1.0, 224x224",
        _make_mobilenetv2,
        {"pixels": 64, "num_labels": 10, "depth_multiplier": 0.35},
    ),
    "vit": _Entry(
        "vit-base of 16x16 patches, 224x224",
        _make_vit,
        {
            "pixels": 64,
            "num_labels": 10,
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 128,
        },
    ),
    "convnext": _Entry(
        "convnext-tiny, 224x224",
        _make_convnext,
        {"pixels": 64, "num_labels": 10, "hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 2, 1]},
    ),
    "whisper": _Entry(
        "whisper-tiny encoder, 3000 frames",
        _make_whisper,
        {"frames": 100, "num_mel_bins": 16, "d_model": 64, "encoder_layers": 2, "encoder_attention_heads": 4},
    ),
    "mamba": _Entry(
        "mamba of 4 layers, hidden 256, plain path, 128 tokens",
        _make_mamba,
        {"tokens": 16, "hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 101, "state_size": 8},
    ),
}

NAMES: tuple[str, ...] = tuple(_ENTRIES)
