"""Language models through GenZ (peer_tools/answering.py).

A case has model, batch, input and output tokens, bits (bf16, fp8 ...) and the data sheet of its
GPU: tflops (dense, at that format's multiple of bf16), memory_gb, bandwidth_gb. Efficiencies are
GenZ's own default, 1: what the data sheet says.
"""

from __future__ import annotations

import contextlib
import importlib
import io

from answering import Case, Values, answer


def solve(case: Case) -> Values:
    """Seconds of the prompt, and of one token at the middle of what is generated."""
    genz = importlib.import_module("GenZ")
    board = {
        "Flops": case["tflops"],
        "Memory_size": case["memory_gb"],
        "Memory_BW": case["bandwidth_gb"],
        "ICN": 300,
        "real_values": True,
    }
    words = {
        "model": case["model"],
        "batch_size": case["batch"],
        "system_name": board,
        "bits": case["bits"],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        prompt = genz.prefill_moddeling(input_tokens=case["input"], **words)["Latency"] * 1e-3
        if not case["output"]:
            return {"prompt_s": prompt}
        token = genz.decode_moddeling(
            input_tokens=case["input"], output_tokens=case["output"] // 2, **words
        )
    return {"prompt_s": prompt, "token_s": token["Latency"] * 1e-3}


if __name__ == "__main__":
    importlib.import_module("GenZ")  # its seconds are those of an answer, not of an import
    answer("genz-llm", solve)
