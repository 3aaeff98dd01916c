"""What hybrid training buys: HpT's four applications on our own numbers.

    python benchmarks/hpt_gain.py [--precision fp32] [--stack eager] [--tiles 1]

Full-parameter steps run on the GPU of the preset `hpt`, low-parameter steps (LoRA of rank 8
and the heads) on its ReRAM and systolic tiers. With f the share of the steps trained in full
(without windows), k / N the window over the steps, j windows, l the cost of a low step beside
the full one on the GPU and s the full GPU step over the low step on the tiers,

    gain = 1 / (f + j k (1 + l) / N + (1 - f - j k / N) / s + t_switch / (N t_full)).

Nothing here is measured on HpT's machine; data sets, step counts, chip sizes and times per
application are not public. f and N are free, so tables are over them.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import elector
from elector.studies.training_run import run
from elector.technology import Technology

#: Application -> iterations of a window (read from HpT's public research code).
APPLICATIONS = {"hpt-snow": 365, "hpt-weather": 8000, "hpt-covid": 720, "hpt-wind": 480}
CLAIMED = {"latency_s": 11.9, "energy_j": 12.05}
GPU = "a100-pcie-40gb"
SHARES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5)
WINDOWS = (0.005, 0.01, 0.02, 0.05)
#: Published spread: pJ of a cell write, seconds of a pulse, writes a cell survives.
ENERGIES = (1.3, 12.0, 48.0)
PULSES = (40e-9, 86e-9, 8.52e-6)
ENDURANCES = (1e6, 1e9, 1e12)


@dataclass(frozen=True)
class Costs:
    """Of a step in full on the GPU, of a low one there and on the tiers, and of the switch."""

    full: float
    beside: float
    low: float
    switch: float

    def gain(self, f: float, window: float, steps: float, windows: int = 1) -> float:
        """Full-parameter training on the GPU over hybrid training."""
        both = windows * window
        rest = 1.0 - f - both
        share = f + both * (1.0 + self.beside / self.full) + rest * self.low / self.full
        return 1.0 / (share + self.switch / (steps * self.full))


def plan(
    model: str, workload: dict[str, object], accelerator: str, steps: int
) -> dict[str, object]:
    """A run of `steps` full and `steps` low steps with a window of one."""
    return {
        "model": model,
        "workload": workload,
        "phases": [
            {"name": "full", "steps": steps, "trainable": "all", "accelerator": GPU},
            {"name": "low", "steps": steps, "trainable": "lora:8", "accelerator": accelerator},
        ],
        "switch": {"step": steps, "window": 1},
    }


def costs(
    model: str, workload: dict[str, object], accelerator: str, technology: Technology
) -> dict[str, Costs]:
    """latency_s and energy_j -> costs. Raises SystemExit where the machine is too small."""
    result = run(plan(model, workload, accelerator, 1000), technology=technology)
    if not result["feasible"]:
        raise SystemExit(f"{model}: {result['reason']}")
    phases, switch = result["phases"], result["switch"]
    assert isinstance(phases, list) and isinstance(switch, dict)
    return {
        key: Costs(
            phases[0][f"step_{key}"],
            switch["side_by_side"][f"step_{key}"],
            phases[1][f"step_{key}"],
            switch["write"][key],
        )
        for key in CLAIMED
    }


def machine(folder: Path, tiles: float, idle: str = "", **settings: object) -> str:
    """The preset `hpt` with `tiles` times its ReRAM tiles, other settings of them, and the
    GPU's idle power where it is not the device's own.
    """
    own = {"tiles": round(336 * tiles), **settings}
    tile = ", ".join(f"{key}: {value}" for key, value in own.items())
    gpu = f"gpu: {{idle_power: {idle}}}, " if idle else ""
    path = folder / f"hpt-{abs(hash(gpu + tile))}.yaml"
    path.write_text(f"base: hpt\nunits: {{{gpu}tier: {{{tile}}}}}\n")
    return str(path)


def table(title: str, header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """A table in Markdown."""
    names = list(header)
    print(f"\n{title}\n\n| {' | '.join(names)} |\n|{'|'.join(['---'] * len(names))}|")
    for row in rows:
        print("| " + " | ".join(c if isinstance(c, str) else f"{c:.4g}" for c in row) + " |")


def steps_table(costs_by_model: dict[str, dict[str, Costs]]) -> None:
    """What a step costs, and the largest gain: every step a low one."""
    for key, unit in (("latency_s", "ms"), ("energy_j", "mJ")):
        rows = [
            (
                name,
                1e3 * c[key].full,
                1e3 * c[key].beside,
                1e3 * c[key].low,
                c[key].beside / c[key].full,
                c[key].full / c[key].low,
                1e3 * c[key].switch,
            )
            for name, c in costs_by_model.items()
        ]
        table(
            f"A step, {key} [{unit}]",
            ("application", "full, GPU", "low, GPU", "low, tiers", "l", "s", "switch"),
            rows,
        )


def gain_tables(by_model: dict[str, dict[str, Costs]]) -> None:
    """Gain over the share of full steps and the window."""
    for name, c in by_model.items():
        for key in CLAIMED:
            rows = [
                (
                    f"{f:.2f}",
                    *(
                        c[key].gain(f, w, APPLICATIONS[name] / w) if f + w <= 1 else "-"
                        for w in WINDOWS
                    ),
                )
                for f in SHARES
            ]
            table(f"{name}: gain in {key}", ("f", *(f"k/N = {w}" for w in WINDOWS)), rows)


def needed(by_model: dict[str, dict[str, Costs]]) -> None:
    """What the claims need: the low step's share, and steps for the rule's four snapshots.

    With f = 4 x and one window x = k / N:  x (5 + l) + (1 - 5 x) / s = 1 / claim.
    """
    rows: list[tuple[object, ...]] = []
    for key, claim in CLAIMED.items():
        for name, costs_of in by_model.items():
            cost = costs_of[key]
            beside, s = cost.beside / cost.full, cost.full / cost.low
            free = 1.0 / (claim * (5.0 + beside))
            fits = (1.0 / claim - 1.0 / s) / (5.0 + beside - 5.0 / s) if s > claim else 0.0
            steps: object = APPLICATIONS[name] / fits if fits else "never"
            rows.append((name, key, claim, s, free, fits or "none", steps))
    table(
        "What the claim needs (one window, f = 4 k/N): s above it, and runs long enough",
        (
            "application",
            "of",
            "claim",
            "s here",
            "k/N if s were infinite",
            "k/N at s",
            "steps N at least",
        ),
        rows,
    )


def parts(own: str, workload: dict[str, object]) -> None:
    """Where time and energy of a low step on the tiers go."""
    rows: list[tuple[object, ...]] = []
    settings = {f"workload.{key}": value for key, value in workload.items()}
    settings |= {"workload.mode": "training", "workload.trainable": "lora:8"}
    for name in APPLICATIONS:
        result = elector.simulate(name, own, settings=settings, operations=True)
        operations = result["operations"]
        assert isinstance(operations, list)
        whole = sum(o["seconds"] for o in operations)
        share = {
            unit: sum(o["seconds"] for o in operations if o["unit"].startswith(unit)) / whole
            for unit in ("tier", "array", "link")
        }
        joules = result["energy_by_part_j"]
        assert isinstance(joules, dict)
        total = sum(joules.values())
        cells = sum(v for k, v in joules.items() if k.startswith("tier.")) / total
        array = sum(v for k, v in joules.items() if k.startswith("array.")) / total
        energy = (joules["leakage"] / total, cells, array, joules["links"] / total)
        rows.append((name, *(f"{v:.1%}" for v in (*share.values(), *energy))))
    table(
        "Where a low step on the tiers goes",
        (
            "application",
            "time: tier",
            "array",
            "links",
            "energy: standing",
            "tier",
            "array",
            "links",
        ),
        rows,
    )


def sensitivity(folder: Path, workload: dict[str, object], tiles: float) -> None:
    """The switch and training everything in cells over the published spread of writes."""
    rows: list[tuple[object, ...]] = []
    for energy in ENERGIES:
        for pulse in PULSES:
            prices = folder / f"write-{energy:g}.csv"
            prices.write_text(
                "part,quantity,value,unit,node_nm,law,source,evidence,verified,note\n"
                f"reram,write,{energy},pJ,,,published spread,published,no,\n"
            )
            technology = Technology.load(prices)
            nanoseconds = f"{pulse * 1e9:g} ns"
            own = machine(folder, tiles, write_pulse=nanoseconds)
            cost = costs("hpt-snow", workload, own, technology)
            everything = folder / f"all-{pulse:g}.yaml"
            everything.write_text(
                "base: reram\ntransposed_read: bidirectional\ndigital_macs: 65536\n"
                "vector_lanes: 16384\nwrite_verify: 2\nbandwidth: 900 GB/s\nmemory: hbm2\n"
                f"write_pulse: {nanoseconds}\ntiles: {round(336 * tiles)}\n"
            )
            phase = {"name": "all", "steps": 1, "accelerator": str(everything)}
            alone = run({"model": "hpt-snow", "phases": [phase]}, technology=technology)["phases"]
            assert isinstance(alone, list)
            step = alone[0]
            if not step["feasible"]:
                raise SystemExit(f"all in ReRAM: {step['reason']}")
            lives = [
                e / step["writes_per_cell"] * step["step_latency_s"] / 3600 for e in ENDURANCES
            ]
            rows.append(
                (
                    energy,
                    1e9 * pulse,
                    1e3 * cost["latency_s"].switch,
                    1e3 * cost["energy_j"].switch,
                    1e3 * step["step_latency_s"],
                    step["step_energy_j"],
                    *lives,
                )
            )
    table(
        "hpt-snow: the switch, and training everything in ReRAM",
        (
            "pJ a write",
            "pulse [ns]",
            "switch [ms]",
            "switch [mJ]",
            "all in ReRAM: step [ms]",
            "step [J]",
            *(f"life at {e:.0e} writes [h]" for e in ENDURANCES),
        ),
        rows,
    )


def sizes(folder: Path, workload: dict[str, object], idle: str) -> None:
    """More tiles hold more copies of the frozen weights, and leak more."""
    rows: list[list[object]] = []
    for tiles in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0):
        own = machine(folder, tiles, idle)
        area = elector.simulate("hpt-snow", own)["area_mm2"]
        row: list[object] = [tiles, float(str(area)) - 826.0]
        for name in APPLICATIONS:
            of_model = costs(name, workload, own, Technology.load())
            row += [of_model[key].full / of_model[key].low for key in CLAIMED]
        rows.append(row)
    short = [name.removeprefix("hpt-") for name in APPLICATIONS]
    names = [f"{name} {what}" for name in short for what in ("time", "energy")]
    gpu = f"GPU idle at {idle}" if idle else "the GPU idles as it does"
    table(
        f"s (full GPU step over low step) with more ReRAM; {gpu}",
        ("tiles / 336", "tiers [mm2]", *names),
        rows,
    )


def main() -> None:
    """Print every table."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--stack", default="eager")
    parser.add_argument("--tiles", type=float, default=1.0, help="ReRAM tiles over the preset's")
    args = parser.parse_args()
    workload: dict[str, object] = {
        "precision": args.precision,
        "implementation": args.stack,
        "attention": "unfused",  # on the GPU alone as in the hybrid
    }
    print(f"Precision {args.precision}, stack {args.stack}, {args.tiles:g} x 336 tiles")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        own = machine(folder, args.tiles)
        by_model = {m: costs(m, workload, own, Technology.load()) for m in APPLICATIONS}
        steps_table(by_model)
        parts(own, workload)
        gain_tables(by_model)
        needed(by_model)
        sizes(folder, workload, "")
        sizes(folder, workload, "0 W")
        sensitivity(folder, workload, args.tiles)


if __name__ == "__main__":
    main()
