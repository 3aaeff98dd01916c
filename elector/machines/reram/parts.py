"""Area and standing power of a ReRAM chip."""

from __future__ import annotations

import numpy as np

from elector.machines.contract import Part, Units
from elector.machines.memories import standing_by
from elector.machines.reram.geometry import channels, crossbars

Array = np.ndarray


def parts(units: Units) -> dict[str, Part]:
    """Name -> part. Reading in both directions takes drivers and converters on both sides."""
    x, number = crossbars(units), units.number
    rows, cols = x.total * x.rows, x.total * x.cols
    both = np.where(units.equals("transposed_read", "bidirectional"), 1.0, 0.0)
    converters = x.total * number("adcs_per_crossbar") * channels(units) * (1.0 + both)
    lanes, logic = number("vector_lanes"), ("logic", "leakage")

    def area(name: str) -> tuple[str, str]:
        return "reram.{design}", name

    return {
        "crossbar": Part(
            area("cell_area * reram.read_{transposed_read}:area_factor"), rows * x.cols
        ),
        "dac": Part(area("dac_area * reram.dac_{dac_bits}:area_factor"), rows + cols * both),
        "sample": Part(area("sample_area"), cols + rows * both),
        "adc": Part(area("adc_area * reram.adc_{adc_bits}:area_factor"), converters),
        "unit": Part(area("unit_area"), rows + cols),
        "tile": Part(area("tile_area"), rows + cols),
        "buffer": Part(area("buffer_area"), number("buffer") * number("tiles")),
        "link": Part(area("link_area"), number("links"), ("reram.{design}", "link_power")),
        "supply": Part(("reram", "supply_area"), number("write_power")),
        "digital": Part(("mac.{compute}", "area"), number("digital_macs"), logic, True),
        "vector": Part(("vector.fp32", "area"), lanes, logic, True),
        "special": Part(("vector.special", "area"), lanes / number("special_cycles"), logic, True),
        "interface": Part(("dram.{memory}", "interface_area"), number("bandwidth"), logic, True),
        "main memory": Part(None, standing_by(units), ("dram.{memory}", "standby")),
    }
