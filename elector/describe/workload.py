"""What is asked of a model: mode, sizes, number formats, optimizer, trainable subset."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np

from elector.base.errors import InputError


@dataclass(frozen=True, eq=False, repr=False)
class NumberFormat:
    """Bytes of one element, by what it is.

    compute : name of the multiply-accumulate that is priced.
    weight, activation, gradient, state : storage while the step runs.
    master : full-precision copy of the weights (0: the weights are their own).
    weight_gradient : gradient of a parameter.
    accumulator : partial sums.
    """

    compute: str
    weight: float
    activation: float
    gradient: float
    state: float
    master: float
    weight_gradient: float
    accumulator: float


#: Automatic mixed precision keeps fp32 parameters, gradients and states and casts the
#: parameters to 16 bits each step (Micikevicius et al., Mixed Precision Training, ICLR 2018).
#: A pure 16-bit run keeps everything in 16 bits. fp8 follows the recipe of fp8 operands with
#: 16-bit gradients of parameters and fp32 master weights (Micikevicius et al. 2022,
#: arXiv 2209.05433). fixed16 is what ISAAC and PUMA compute in; fixed20 is AccelTran's 4+16
#: bit fixed point (arXiv 2302.14705).
FORMATS: dict[str, NumberFormat] = {
    "fp32": NumberFormat("fp32", 4, 4, 4, 4, 0, 4, 4),
    "tf32": NumberFormat("tf32", 4, 4, 4, 4, 0, 4, 4),
    "bf16": NumberFormat("bf16", 2, 2, 2, 2, 0, 2, 4),
    "bf16-amp": NumberFormat("bf16", 2, 2, 2, 4, 4, 4, 4),
    "fp16": NumberFormat("fp16", 2, 2, 2, 2, 0, 2, 4),
    "fp16-amp": NumberFormat("fp16", 2, 2, 2, 4, 4, 4, 4),
    "fp8": NumberFormat("fp8", 1, 1, 1, 4, 4, 2, 4),
    "int8": NumberFormat("int8", 1, 1, 1, 4, 4, 4, 4),
    "fixed16": NumberFormat("fixed16", 2, 2, 2, 2, 0, 2, 4),
    "fixed20": NumberFormat("fixed20", 2.5, 2.5, 2.5, 2.5, 0, 2.5, 5),
}

#: States an optimizer keeps for each parameter.
OPTIMIZER_STATES: dict[str, int] = {
    "none": 0,
    "sgd": 0,
    "momentum": 1,
    "adam": 2,
    "adamw": 2,
    "lamb": 2,
}

#: Masked positions of a sequence: 20 of 128 and 80 of 512 in BERT pre-training
#: (google-research/bert, max_predictions_per_seq).
MASKED_SHARE = 20 / 128


#: Fields of a workload that are arrays.
NUMBERS = (
    "batch",
    "sequence_length",
    "target_length",
    "generate",
    "gradient_accumulation",
    "predictions",
    "tau_i",
    "tau_t",
)


@dataclass(frozen=True, eq=False, repr=False)
class Workload:
    """M workloads that share their structure.

    The categorical fields are plain values; batch, sequence_length, target_length, generate,
    gradient_accumulation, predictions, tau_i and tau_t are (M,) float.
    """

    mode: str
    precision: str
    optimizer: str
    activations: str
    attention: str
    implementation: str
    trainable: str
    sparsity: str
    optimizer_kernels: str
    generates: bool
    batch: np.ndarray
    sequence_length: np.ndarray
    target_length: np.ndarray
    generate: np.ndarray
    gradient_accumulation: np.ndarray
    predictions: np.ndarray
    tau_i: np.ndarray
    tau_t: np.ndarray

    def take(self, index: np.ndarray) -> Workload:
        """The workloads at `index`."""
        return replace(self, **{name: getattr(self, name)[index] for name in NUMBERS})

    @property
    def training(self) -> bool:
        """Whether a step holds a backward pass and an update."""
        return self.mode == "training"

    @property
    def mixed(self) -> bool:
        """Whether weights are kept in fp32 and cast (automatic mixed precision)."""
        return self.precision.endswith("-amp")

    @property
    def format(self) -> NumberFormat:
        """Bytes of one element by class."""
        return FORMATS[self.precision]

    @property
    def rank(self) -> int:
        """Rank of the low-rank pairs, 0 without them."""
        return lora_rank(self.trainable)


def lora_rank(trainable: str) -> int:
    """Rank of `lora:R`; 0 for all and heads. Raises InputError for anything else."""
    if trainable in ("all", "heads"):
        return 0
    found = re.fullmatch(r"lora:([1-9]\d{0,5})", trainable)
    if not found:
        raise InputError(
            "unknown trainable subset",
            field="workload.trainable",
            value=trainable,
            allowed=["all", "heads", "lora:R"],
        )
    return int(found.group(1))
