"""A `config.json` -> the class of `transformers` that it names, run on the meta device.

The class is the library's own: a config's `auto_map` names code in a repository, which is never
loaded. Tensors of the meta device have shapes and no memory, so that a model of any size runs.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from elector.base.errors import InputError
from elector.base.spelling import require_text
from elector.describe.imports import limits
from elector.describe.imports.calls import OperatorCall, ProgramTensor, UnknownOperators, rows
from elector.describe.imports.program import ImportedProgram
from elector.describe.imports.traced import STEPS, Symbol, Traced

#: Keys that do not describe what runs: formats, code of a repository, files.
_LEFT_OUT = ("quantization_config", "auto_map", "torch_dtype", "dtype", "_name_or_path")
#: Samples of a second of sound, in models of waves that say nothing else (16 kHz).
_SAMPLES = 16_000
#: What operators do that only copy parameters: the copy is still those parameters.
_COPIES = ("_to_copy", "clone", "contiguous", "alias", "detach")


def read_config(path: str, data: bytes, class_name: str = "") -> ImportedProgram:
    """What the class of a config runs. class_name : instead of the one the config names.

    Raises InputError for a config of a model that `transformers` does not know, or of a class
    that cannot run without values.

    data : the bytes of config.json.
    """
    config = _parsed(path, data)
    said = [
        f"{key} is left out: {why}"
        for key, why in (
            ("auto_map", "it names code of a repository, which is never run"),
            ("quantization_config", "formats are settings: workload.weights"),
        )
        if key in config
    ]
    with limits.at_most(limits.TRACE_SECONDS, "building the class", path):
        built = _build(path, config, class_name)
    symbols = _symbols(built, path)
    _settle_masks(built, symbols, path)
    unknown = UnknownOperators()

    def trace(point: Mapping[str, int]) -> Sequence[Traced]:
        with limits.at_most(limits.TRACE_SECONDS, "running the class", path):
            return _run(built, point, unknown, path)

    return ImportedProgram(
        trace,
        symbols,
        built.parameters,
        f"{built.name} of transformers {built.version}",
        said,
        unknown,
    )


@dataclass
class _Built:
    """A model on the meta device."""

    module: Any
    config: Any
    name: str
    version: str
    parameters: int
    inputs: dict[str, Callable[[Mapping[str, int]], Any]] = field(default_factory=dict)


def _parsed(path: str, data: bytes) -> dict[str, Any]:
    try:
        with limits.at_most(limits.READ_SECONDS, "reading it", path):
            config = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"is not JSON: {error}", file=path) from None
    if not isinstance(config, dict):
        raise InputError("must hold a mapping of keys to values", file=path)
    require_text(config, path)
    return config


def _build(path: str, config: dict[str, Any], class_name: str) -> _Built:
    """The class with this config, on the meta device."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    kind = config.get("model_type")
    known = transformers.CONFIG_MAPPING
    if not isinstance(kind, str) or kind not in known:
        raise InputError(
            f"transformers {transformers.__version__} has no model of this type",
            file=path,
            field="model_type",
            value=kind,
            allowed=list(known.keys()),
            hint="code that a config's auto_map names is never run" if "auto_map" in config else "",
        )
    kept = {key: value for key, value in config.items() if key not in _LEFT_OUT}
    try:
        settings = known[kind].from_dict(kept)
        cls = _class(path, config, settings, class_name)
        with torch.device("meta"):
            module = _eager(cls, settings)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"transformers cannot build it: {type(error).__name__}: {_line(error)}", file=path
        ) from None
    module.eval()
    total = sum(p.numel() for p in module.parameters())
    built = _Built(module, settings, cls.__name__, transformers.__version__, total)
    return built


def _eager(cls: Any, settings: Any) -> Any:
    """Attention as its products, experts as the products of their own tokens."""
    chosen = {"attn_implementation": "eager"}
    try:
        return cls._from_config(settings, **chosen, experts_implementation="batched_mm")
    except (TypeError, ValueError):
        return cls._from_config(settings, **chosen)


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200]


def _class(path: str, config: dict[str, Any], settings: Any, class_name: str) -> Any:
    """The class that is asked for, that the config names, or that its type has."""
    import transformers

    listed = config.get("architectures") or []
    named = class_name or (str(listed[0]) if isinstance(listed, list) and listed else "")
    for start in ("TF", "Flax"):
        named = named.removeprefix(start)
    if not named:
        return transformers.AutoModel._model_mapping[type(settings)]
    cls = getattr(transformers, named, None)
    if not (inspect.isclass(cls) and issubclass(cls, transformers.PreTrainedModel)):
        raise InputError(
            f"transformers {transformers.__version__} has no such class",
            file="" if class_name else path,
            field="--class" if class_name else "architectures",
            value=named,
            hint="--class NAME takes another one",
        )
    return cls


def _symbols(built: _Built, path: str) -> list[Symbol]:
    """The sizes that vary, from the inputs of the class."""
    import torch

    config, signature = built.config, inspect.signature(built.module.forward).parameters
    text = getattr(config, "text_config", config)

    def tokens(point: Mapping[str, int]) -> Any:
        return torch.zeros(point["batch"], point["length"], dtype=torch.long, device="meta")

    def ones(point: Mapping[str, int]) -> Any:
        return torch.ones(point["batch"], point["length"], dtype=torch.long, device="meta")

    def fixed(*sides: int) -> Callable[[Mapping[str, int]], Any]:
        return lambda point: torch.zeros(point["batch"], *sides, device="meta")

    makers = {
        "input_ids": tokens,
        "attention_mask": ones,
        "decoder_input_ids": tokens,
        "decoder_attention_mask": ones,
        "pixel_values": fixed(*_image(config)),
        "input_features": fixed(*_sound(config)),
        "input_values": fixed(_SAMPLES),
    }
    main = [
        n for n in ("input_ids", "pixel_values", "input_features", "input_values") if n in signature
    ]
    if not main:
        raise InputError(
            f"{built.name} takes {', '.join(list(signature)[:3])}; sizes of them are not known",
            file=path,
        )
    wanted = set(main)
    if "input_ids" in main or "decoder_input_ids" in signature:
        wanted |= {"attention_mask"} if "input_ids" in main else set()
        wanted |= {n for n in ("decoder_input_ids", "decoder_attention_mask") if n in signature}
    built.inputs = {name: makers[name] for name in makers if name in wanted and name in signature}
    symbols = [Symbol("batch", tuple(2 + i for i in STEPS))]
    if any(name in built.inputs for name in ("input_ids", "decoder_input_ids")):
        longest = getattr(text, "max_position_embeddings", None) or getattr(text, "n_positions", 0)
        longest = getattr(text, "max_target_positions", longest) or longest
        longest = longest if isinstance(longest, int) else 0
        symbols.append(Symbol("length", _lengths(longest, _window(text))))
    return symbols


def _settle_masks(built: _Built, symbols: list[Symbol], path: str) -> None:
    """Leave out the masks of tokens that are all there, where the class runs without them.

    Some classes look at the values of a mask, others at those of positions if there is none.
    """
    with_masks = built.inputs
    built.inputs = {name: make for name, make in with_masks.items() if "mask" not in name}
    try:
        _run(built, {s.name: s.points[0] for s in symbols}, UnknownOperators(), path)
    except InputError:
        built.inputs = with_masks


def _window(config: Any) -> int:
    """Tokens that local attention looks back; 0 without."""
    named = (getattr(config, name, None) for name in ("sliding_window", "local_attention"))
    return next((value for value in named if isinstance(value, int)), 0)


def _lengths(longest: int, window: int = 0) -> tuple[int, ...]:
    """Four lengths that a table of `longest` positions has room for (0: any).

    Beyond a window, where there is room: what masks it runs only there.
    """
    step = 8 if not longest or longest >= 72 else max((longest - 2) // (STEPS[-1] + 1), 1)
    room = not longest or window + step * (STEPS[-1] + 1) <= longest
    start = window if room else 0
    return tuple(start + step * (i + 1) for i in STEPS)


def _image(config: Any) -> tuple[int, int, int]:
    vision = getattr(config, "vision_config", config)
    size = getattr(vision, "image_size", None) or 224
    height, width = size if isinstance(size, list | tuple) else (size, size)
    return getattr(vision, "num_channels", None) or 3, int(height), int(width)


def _sound(config: Any) -> tuple[int, int]:
    """Bins and frames of a spectrogram: a stem of stride 2 halves the frames (Whisper)."""
    frames = getattr(config, "max_source_positions", None) or 1500
    return getattr(config, "num_mel_bins", None) or 80, 2 * int(frames)


def _run(
    built: _Built, point: Mapping[str, int], unknown: UnknownOperators, path: str
) -> list[Traced]:
    """One forward pass; what runs in it."""
    import torch

    recorder = _Recorder(built.module, unknown)
    inputs = {name: make(point) for name, make in built.inputs.items()}
    if "use_cache" in inspect.signature(built.module.forward).parameters:
        inputs["use_cache"] = False
    try:
        with torch.no_grad(), _noted(recorder):
            built.module(**inputs)
    except InputError as error:
        raise InputError(error.problem, file=path, hint=error.hint or "") from None
    except Exception as error:
        at = recorder.path or built.name
        raise InputError(
            f"{at}: the class cannot run without values: {type(error).__name__}: {_line(error)}",
            file=path,
        ) from None
    finally:
        recorder.close()
    return recorder.traced


class _Recorder:
    """Notes every operator that runs, and in which module.

    weights : storage -> name of the parameters in it, and how many. alls : storage -> whether all
    of a mask is set. kept : tensors whose storage must stay: one that goes would leave its number
    to another.
    """

    def __init__(self, module: Any, unknown: UnknownOperators) -> None:
        self.unknown = unknown
        self.traced: list[Traced] = []
        self.stack: list[str] = []
        self.path = ""
        self.weights = {_storage(p): (name, p.numel()) for name, p in module.named_parameters()}
        self.alls: dict[int, Any] = {}
        self.kept: list[Any] = []
        self.hooks = []
        for name, part in module.named_modules():
            self.hooks.append(part.register_forward_pre_hook(self._enter(name)))
            self.hooks.append(part.register_forward_hook(self._leave, always_call=True))

    def _enter(self, name: str) -> Any:
        def enter(*_: object) -> None:
            self.stack.append(name)
            self.path = name

        return enter

    def _leave(self, *_: object) -> None:
        self.stack.pop()

    def close(self) -> None:
        """Takes the hooks off the modules."""
        for hook in self.hooks:
            hook.remove()

    def run(self, func: Any, args: Any, named: Mapping[str, Any]) -> Any:
        """What an operator gives, once it is noted."""
        name = func._schema.name.partition("::")[2]
        if name == "_local_scalar_dense" and _storage(args[0]) in self.alls:
            self.unknown.asked.add(self.path)
            return True
        out = func(*args, **named)
        if name == "all":
            self.alls[_storage(out)] = out
        outs = [t for t in (out if isinstance(out, tuple | list) else [out]) if _is_tensor(t)]
        if name in _COPIES and self._holds_weights(args):
            for made in outs:
                self.weights[_storage(made)] = self.weights[_storage(args[0])]
                self.kept.append(made)
            return out
        at = self.stack[-1] if self.stack else ""
        call = OperatorCall(
            name,
            f"{at}.{name}" if at else name,
            [self._argument(a) for a in args],
            [self._tensor(t) for t in outs],
            {key: self._argument(a) for key, a in named.items()},
        )
        self.traced += rows(call, "aten", self.unknown)
        return out

    def _holds_weights(self, args: Any) -> bool:
        """Whether the first argument of an operator is parameters."""
        return bool(args) and _is_tensor(args[0]) and _storage(args[0]) in self.weights

    def _argument(self, value: Any) -> object:
        if _is_tensor(value):
            return self._tensor(value)
        if isinstance(value, list | tuple):
            return [self._argument(part) for part in value]
        return value

    def _tensor(self, tensor: Any) -> ProgramTensor:
        name, held = self.weights.get(_storage(tensor), ("", 0))
        return ProgramTensor(tuple(tensor.shape), tensor.dtype.is_floating_point, name, held)


def _noted(recorder: _Recorder) -> Any:
    """A context in which every operator goes through the recorder."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Mode(TorchDispatchMode):  # type: ignore[misc] # of a library without types
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), named: Any = None
        ) -> Any:
            return recorder.run(func, args, named or {})

    return Mode()


def _is_tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def _storage(tensor: Any) -> int:
    return int(tensor.untyped_storage()._cdata)
