"""What is asked of a model: mode, sizes, number formats, optimizer, trainable subset."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np

from elector.base.errors import InputError
from elector.describe.numbers import Precision, stored

#: States an optimizer keeps for each parameter.
OPTIMIZER_STATES: dict[str, int] = {
    "none": 0,
    "sgd": 0,
    "momentum": 1,
    "adam": 2,
    "adamw": 2,
    "lamb": 2,
}

#: Masked positions of a sequence in training: 20 of 128 and 80 of 512 in BERT pre-training
#: (google-research/bert, max_predictions_per_seq).
MASKED_SHARE = 20 / 128


#: Phases in which prompts are read: in passes of as many each, and in passes of one more.
PROMPTS = ("prefill", "prefill_more")


#: Fields of a workload that are arrays.
NUMBERS = (
    "batch",
    "sequence_length",
    "target_length",
    "generate",
    "gradient_accumulation",
    "metrics",
    "predictions",
    "prefill_chunk",
    "tau_i",
    "tau_t",
)


#: Kernels of attention that skip what a mask hides: blocks above the diagonal and beside a window
#: (Dao 2023, FlashAttention-2, arXiv 2307.08691, section 3.1; Megatron-LM's softmax of an upper
#: triangle). A product of its own computes the whole square.
SKIPPING = ("fused", "flash")


def in_pieces(length: np.ndarray, chunk: np.ndarray) -> np.ndarray:
    """(M,) whether prompts are longer than what is read at once.

    length, chunk : (M,) tokens of a prompt, and of those that are read at once; 0: all of them.
    """
    return np.asarray((chunk > 0) & (length > chunk))


@dataclass(frozen=True, eq=False, repr=False)
class Workload:
    """M workloads that share their structure.

    The categorical fields are plain values; batch, sequence_length, target_length, generate,
    gradient_accumulation, metrics, predictions, prefill_chunk, tau_i and tau_t are (M,) float.
    kept : parts of layers whose matrices are not stored in `weights`, as the model's own file says.
    parts : parts of the model and the format of their own that it stores them in. prefill_chunk :
    tokens of a prompt that are read at once, 0 for all of them; chunked : whether prompts are
    longer than that.
    """

    mode: str
    precision: str
    weights: str
    kv_cache: str
    kept: tuple[str, ...]
    parts: tuple[tuple[str, str], ...]
    optimizer: str
    activations: str
    attention: str
    implementation: str
    trainable: str
    sparsity: str
    optimizer_kernels: str
    residency: str
    serving: str
    generates: bool
    chunked: bool
    batch: np.ndarray
    sequence_length: np.ndarray
    target_length: np.ndarray
    generate: np.ndarray
    gradient_accumulation: np.ndarray
    metrics: np.ndarray
    predictions: np.ndarray
    prefill_chunk: np.ndarray
    tau_i: np.ndarray
    tau_t: np.ndarray

    def take(self, index: np.ndarray) -> Workload:
        """The workloads at `index`.

        index : (N,) places.
        """
        return replace(self, **{name: getattr(self, name)[index] for name in NUMBERS})

    @property
    def training(self) -> bool:
        """Whether a step holds a backward pass and an update."""
        return self.mode == "training"

    @property
    def prompt_passes(self) -> np.ndarray:
        """(M,) passes through the layers in which a step reads its prompts; 1 where all go
        together.

        A server in steady state with B requests of O tokens each (`serving` continuous) takes a
        new request whenever one ends: while each decodes its O - 1 later tokens, B prompts come,
        B / (O - 1) between two tokens. They share min(B, O - 1) passes, of one prompt or more
        (Yu et al. 2022, Orca, OSDI, iteration-level scheduling; Agrawal et al. 2024,
        Sarathi-Serve, arXiv 2403.02310, section 3.2, what puts prompts first). A pass reads whole
        prompts: see `prompts` and `passes`.
        """
        if self.serving != "continuous" or not self.generates:
            return np.ones_like(self.batch)
        return np.clip(self.generate - 1.0, 1.0, self.batch)

    @property
    def pieces(self) -> np.ndarray:
        """(M,) pieces that a prompt is read in, one after another (Agrawal et al. 2024,
        Sarathi-Serve, arXiv 2403.02310, section 4.2, chunked prefills)."""
        if not self.chunked:
            return np.ones_like(self.batch)
        return np.asarray(np.ceil(self.sequence_length / self.prefill_chunk))

    @property
    def keeps(self) -> np.ndarray:
        """(M,) whether keys and values stay: for tokens to come, or for the rest of a prompt."""
        reads = in_pieces(self.sequence_length, self.prefill_chunk)
        return np.asarray((self.generate > 0) | reads)

    def prompts(self, phase: str) -> np.ndarray:
        """(M,) whole prompts that a pass of the phase reads.

        phase : of PROMPTS; the second reads one prompt more than the first.
        """
        return np.floor(self.batch / self.prompt_passes) + (phase == PROMPTS[1])

    def passes(self, phase: str) -> np.ndarray:
        """(M,) passes through the layers of a phase, which are micro-batches in training.

        phase : forward | prefill | prefill_more | recompute | backward. Where the prompts do not
        fall evenly on N passes, as many as are left over, B - N floor(B / N), read one more.
        """
        if self.training:
            return self.gradient_accumulation
        passes = self.prompt_passes
        more = self.batch - passes * self.prompts(PROMPTS[0])
        return more if phase == PROMPTS[1] else passes - more

    @property
    def format(self) -> Precision:
        """The number format of each kind of tensor."""
        return stored(self.precision, self.weights, self.kv_cache)

    @property
    def rank(self) -> int:
        """Rank of the low-rank pairs, 0 without them."""
        return lora_rank(self.trainable)


def lora_rank(trainable: str) -> int:
    """Rank of `lora:R`; 0 for all and heads. Raises InputError for anything else."""
    if trainable in ("all", "heads"):
        return 0
    match = re.fullmatch(r"lora:([1-9]\d{0,5})", trainable)
    if not match:
        raise InputError(
            "unknown trainable subset",
            field="workload.trainable",
            value=trainable,
            allowed=["all", "heads", "lora:R"],
        )
    return int(match.group(1))
