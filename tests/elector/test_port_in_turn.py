"""Loads and computing in turn, of arrays that wait for the port of their on-chip memory."""

from __future__ import annotations

import numpy as np
import pytest
from builders import columns

from elector.evaluation.path import evaluate

DESIGN: dict[str, object] = {
    "model": "vit-base",
    "accelerator": "tpu-v4i",
    "workload.batch": 7,
    "workload.attention": "fused",
    "accelerator.rows": 524,
    "accelerator.cols": 557,
    "accelerator.arrays": 7,
    "accelerator.sram": 153169018.0,
    "accelerator.bandwidth": 1.008e12,
    "accelerator.memory": "gddr6",
    "accelerator.memory_capacity": 1e15,
    "accelerator.clock": 202587037.0,
    "accelerator.vector_lanes": 13009,
    "accelerator.double_buffer": False,
    "accelerator.fuse": False,
}
#: The port, from one that everything waits for to one that nothing does [byte/s].
PORTS = [1e11, 5e11, 1.5e12, 1.95e12, 2.5e12, 4e12, 3e13]


@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
def test_a_wider_port_is_never_slower(dataflow: str, batch: int) -> None:
    """What a stream computes for longer was hidden behind the port's seconds: at 1.95 TB/s a step
    took 1.712 ms, and 1.732 where the port is no limit, because less of it was counted."""
    here = DESIGN | {"accelerator.dataflow": dataflow, "workload.batch": batch}
    rows = [here | {"accelerator.sram_bandwidth": port} for port in PORTS]
    table = {key: [row[key] for row in rows] for key in rows[0]}
    seconds = evaluate(columns(len(rows), table), len(rows)).scalar("latency_s")
    assert (np.diff(seconds) <= seconds[1:] * 1e-9).all()
    # and one that is no limit is as good as none
    none = here | {"accelerator.sram_bandwidth": 0.0}
    free = evaluate(columns(1, {key: [value] for key, value in none.items()}), 1)
    assert seconds[-1] == pytest.approx(free.scalar("latency_s")[0], rel=1e-12)
