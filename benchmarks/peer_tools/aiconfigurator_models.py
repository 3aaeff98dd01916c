"""Language models through AIConfigurator's own estimator (peer_tools/answering.py).

A case has model, system, backend, gemm and cache (formats of products and of keys and values, in
its words), batch, input and output tokens. It answers with the time of a token where all sequences
start together (`token_s`, as we count), where prompts arrive between tokens, one in a step
(`served_s`, its model of a server), and that of the prompt. Tables of measured kernels are what it
looks up: those of the engine and version it calls current.
"""

from __future__ import annotations

import functools
import importlib
import logging
from typing import Any

from answering import Case, Values, answer

SDK = "aiconfigurator_core.sdk"


@functools.cache
def database(system: str, backend: str) -> Any:
    """Tables of a system and an engine."""
    tables = importlib.import_module(f"{SDK}.perf_database")
    return tables.get_database(
        system, backend, tables.resolve_query_version(system, backend, "current")
    )


def solve(case: Case) -> Values:
    """Seconds of a token, twice, and of the prompt."""
    builders = importlib.import_module(f"{SDK}.config_builders")
    config = builders.build_model_config(
        1, 1, 1, 1, 1, gemm_quant_mode=case["gemm"], kvcache_quant_mode=case["cache"]
    )
    model = importlib.import_module(f"{SDK}.models").get_model(
        case["model"], config, case["backend"]
    )
    engine = importlib.import_module(f"{SDK}.backends.factory").get_backend(case["backend"])
    tables = database(case["system"], case["backend"])
    runtime = importlib.import_module(f"{SDK}.config").RuntimeConfig(
        batch_size=case["batch"], beam_width=1, isl=case["input"], osl=case["output"]
    )
    together = engine.run_static(model, tables, runtime, mode="static").get_summary_df().iloc[0]
    served = engine.run_agg(model, tables, runtime, ctx_tokens=case["input"]).get_summary_df()
    return {
        "token_s": float(together["tpot"]) * 1e-3,
        "prompt_s": float(together["ttft"]) * 1e-3,
        "served_s": float(served.iloc[0]["tpot"]) * 1e-3,
    }


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    answer("aiconfigurator-core", solve)
