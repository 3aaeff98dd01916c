"""Ten large steps by the closed form and by the event-driven model: seconds and difference.

    python benchmarks/large_steps.py

The random triples of tests/elector/test_timeline.py are small; these are models and machines
of the size that users have.
"""

from __future__ import annotations

import time

from elector.evaluation.path import inspect
from elector.events.timeline import timeline
from elector.studies.simulation import columns_of
from elector.technology import Technology

#: Model, accelerator, mode, sequences, further settings.
STEPS: tuple[tuple[str, str, str, int, dict[str, object]], ...] = (
    ("bert-base", "acceltran-server", "inference", 4, {"workload.sparsity": "acceltran"}),
    ("bert-base", "acceltran-server", "inference", 32, {}),
    ("bert-base", "acceltran-server", "training", 4, {"workload.sparsity": "acceltran"}),
    ("bert-large", "acceltran-server", "inference", 4, {"workload.sparsity": "acceltran"}),
    ("bert-large", "acceltran-server", "training", 4, {}),
    ("bert-base", "tpu-v4i", "inference", 8, {}),
    ("bert-base", "tpu-v4i", "training", 8, {}),
    ("bert-large", "tpu-v4i", "inference", 16, {}),
    ("bert-large", "systolic", "inference", 8, {"accelerator.rows": 256, "accelerator.cols": 256}),
    ("bert-large", "systolic", "training", 4, {"accelerator.rows": 256, "accelerator.cols": 256}),
)


def main() -> None:
    """Print a row for each step."""
    technology = Technology.load()
    print(
        "| model | accelerator | mode | batch | sparsity | closed form | events | difference "
        "| time of the events |\n|---|---|---|---|---|---|---|---|---|"
    )
    for model, accelerator, mode, batch, further in STEPS:
        settings = {
            "model": model,
            "accelerator": accelerator,
            "workload.mode": mode,
            "workload.batch": batch,
            **further,
        }
        chunk = inspect(columns_of(settings), technology)
        start = time.perf_counter()
        events = timeline(chunk).seconds
        closed, took = float(chunk.timing.seconds[0]), time.perf_counter() - start
        sparsity = further.get("workload.sparsity", "dense")
        print(
            f"| {model} | {accelerator} | {mode} | {batch} | {sparsity} | {1e3 * closed:.4g} ms "
            f"| {1e3 * events:.4g} ms | {100 * (closed / events - 1):+.1f} % | {took:.0f} s |",
            flush=True,
        )


if __name__ == "__main__":
    main()
