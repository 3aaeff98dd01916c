"""Operation lists in spaces."""

from __future__ import annotations

from pathlib import Path

import yaml

import elector
import transcode


def test_a_list_is_searched(tmp_path: Path) -> None:
    """As any model: every design of the front costs what `simulate` says."""
    listed = {
        "kind": "operations",
        "operations": [
            {"name": "query", "m": "batch * length", "k": 256, "n": 256, "count": 4},
            {"name": "probabilities", "operation": "softmax", "elements": "batch * length ** 2"},
        ],
    }
    model = tmp_path / "list.yaml"
    model.write_text(yaml.safe_dump(listed))
    space = {
        "name": "listed",
        "model": {"base": str(model)},
        "accelerator": {"base": "systolic", "rows": [16, 32]},
        "workload": {"batch": 4},
        "objectives": {"latency_s": "min", "area_mm2": "min"},
    }
    result = transcode.search(space, out=tmp_path / "run", jobs=1)
    rows = result.frame
    assert len(rows) >= 1
    for _, row in rows.iterrows():
        settings = {"accelerator.rows": int(row["accelerator.rows"]), "workload.batch": 4}
        alone = elector.simulate(str(model), "systolic", settings=settings)
        assert alone["latency_s"] == row["latency_s"]
