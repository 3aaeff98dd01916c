"""`elector report`: a pair as a page, tried in a headless browser."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import browser
import pytest
from commands import run

import elector
from elector.cost.results import registry

pytest.importorskip("bokeh", reason="needs bokeh, which is part of the base install")


def told_of(page: Path) -> dict[str, Any]:
    text = page.read_text(encoding="utf-8")
    match = re.search(r'<script id="told" type="application/json">(.*?)</script>', text, re.S)
    assert match
    return json.loads(match[1])


@pytest.mark.parametrize("words", [("bert-tiny", "tpu-v4i"), ("hpt-wind", "hpt")])
def test_shares_and_roof_are_those_of_the_simulator(tmp_path: Path, words: tuple[str, str]) -> None:
    page = tmp_path / "page.html"
    result = run("report", *words, "--mode", "training", "--out", str(page))
    assert result.exit_code == 0 and result.stdout.strip() == str(page)
    told = told_of(page)
    simulated = elector.simulate(*words, settings={"workload.mode": "training"}, operations=True)
    assert told["operations"] == len(simulated["operations"])
    energy = next(g for g in told["groups"] if g["title"] == "energy by part")
    for part in energy["parts"]:
        expected = simulated["energy_by_part_j"][part["name"]] / sum(
            simulated["energy_by_part_j"].values()
        )
        assert part["share"] == pytest.approx(expected)
    assert told["roof"]["peak"] >= simulated["peak_ops_per_s"]


def test_the_roof_is_peak_and_bandwidth(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    run("report", "bert-base", "tpu-v4i", "--out", str(page))
    roof = told_of(page)["roof"]
    assert roof["peak"] == 2 * 4 * 128 * 128 * 1.05e9  # four arrays of 128 x 128 at 1.05 GHz
    assert roof["bandwidth"] == 614e9


def test_intervals_are_those_of_the_simulator(tmp_path: Path) -> None:
    page, words = tmp_path / "page.html", ("gpt2", "a100-sxm-80gb")
    draws = ("--uncertainty", "--samples", "50", "--seed", "3")
    run("report", *words, "--generate", "4", *draws, "--out", str(page))
    settings = {"workload.generate": 4}
    results = elector.simulate(*words, settings=settings, uncertainty=True, samples=50, seed=3)
    told = {interval["name"]: interval for interval in told_of(page)["intervals"]}
    labels = {
        name.removesuffix("_low"): registry().label(name.removesuffix("_low"))
        for name in results
        if name.endswith("_low")
    }
    assert set(told) == set(labels.values()) and "time per output token" in told
    text = page.read_text()
    for name, label in labels.items():
        for end in ("low", "high"):
            assert told[label][end] == pytest.approx(results[f"{name}_{end}"] / results[name])
        for shown in told[label]["ends"]:
            assert re.search(rf"<td[^>]*>{re.escape(shown)}</td>", text), (label, shown)
    assert "--operations --uncertainty --samples 50 --seed 3" in text  # how to reproduce it


def test_a_page_has_no_intervals_that_nobody_asked_for(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    run("report", "bert-tiny", "tpu-v4i", "--out", str(page))
    assert told_of(page)["intervals"] == [] and "<h2>Intervals" not in page.read_text()
    words = ("bert-base", "systolic", "--set", "accelerator.memory_capacity=10 MB")
    run("report", *words, "--uncertainty", "--out", str(page))
    told = told_of(page)["intervals"]
    assert {bar["name"] for bar in told} <= {"area"}  # of an infeasible pair


@pytest.mark.slow
@browser.NEEDED
def test_intervals_are_drawn_as_bars(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    run("report", "bert-base", "a100-sxm-80gb", "--uncertainty", "--out", str(page))
    told = told_of(page)["intervals"]
    script = """
      const made = shown.roots.find(root => root.y_range.factors), drawn = made.renderers
        .find(r => r.glyph.type === "Segment").data_source.data;
      return [made.y_range.factors, Array.from(drawn.low), Array.from(drawn.high)];"""
    with browser.opened(page) as driver:
        names, low, high = driver.execute_script(script)
        assert browser.errors(driver) == []
    assert names == [bar["name"] for bar in reversed(told)]
    assert low == pytest.approx([bar["low"] for bar in told])
    assert high == pytest.approx([bar["high"] for bar in told])


def test_units_have_the_signs_that_pages_of_runs_have(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    run("report", "bert-base", "tpu-v4i", "--out", str(page))
    area = next(g for g in told_of(page)["groups"] if g["title"] == "area by part")
    assert area["shown"].endswith(" mm²")
    assert re.search(rf"<td[^>]*>{area['shown']}</td>", page.read_text())


def test_a_pair_that_cannot_run_has_a_page_with_its_reason(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    words = ("bert-base", "systolic", "--set", "accelerator.memory_capacity=10 MB")
    assert run("report", *words, "--out", str(page)).exit_code == 0
    text = page.read_text()
    assert "infeasible: " in text and "<h2>Roofline" not in text
    assert told_of(page)["operations"] == 0


@pytest.mark.parametrize("out", ["page.pdf", "absent/page.html"])
def test_a_page_that_cannot_be_written(tmp_path: Path, out: str) -> None:
    assert run("report", "bert-tiny", "tpu-v4i", "--out", str(tmp_path / out)).exit_code == 2
    assert not list(tmp_path.iterdir())


def test_settings_have_their_units(tmp_path: Path) -> None:
    """As `elector show` and every other table says them."""
    out = tmp_path / "p.html"
    assert run(
        "report", "bert-tiny", "tpu-v4i", "--set", "accelerator.sram=4 MB", "--out", str(out)
    )
    rows = dict(re.findall(r'<th scope="row">([a-z0-9_.]+)</th><td>([^<]*)</td>', out.read_text()))
    assert rows["accelerator.sram"] == "4.00 MB"
    assert rows["accelerator.clock"].endswith("GHz") and rows["accelerator.node"] == "7 nm"
    assert rows["workload.sequence_length"] == "128" and rows["workload.task"] == "-"
    shown = run("show", "tpu-v4i").stdout
    assert re.search(rf"^  bandwidth +{rows['accelerator.bandwidth']}$", shown, re.M)


def test_bad_settings_write_nothing(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert run("report", "bert-tiny", "tpu-v44", "--out", str(page)).exit_code == 2
    assert not page.exists()


@pytest.mark.slow
@browser.NEEDED
def test_the_page_in_a_browser(tmp_path: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    page = tmp_path / "page.html"
    run("report", "gpt2", "a100-sxm-80gb", "--batch", "8", "--out", str(page))
    result = elector.simulate(
        "gpt2", "a100-sxm-80gb", settings={"workload.batch": 8}, operations=True
    )
    with browser.opened(page, 390, 800) as driver:
        script = (
            "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        wide, there = driver.execute_script(script)
        assert wide <= there
    with browser.opened(page) as driver:
        rows = driver.find_elements(By.CSS_SELECTOR, "#rows tbody tr")
        assert len(rows) == len(result["operations"])
        longest = max(result["operations"], key=lambda op: op["seconds"])
        assert rows[0].text.startswith(longest["name"])  # the longest first
        heading = driver.find_elements(By.CSS_SELECTOR, "#rows th button")[6]
        heading.send_keys(Keys.ENTER)
        most = max(result["operations"], key=lambda op: op["joules"])
        first = driver.find_element(By.CSS_SELECTOR, "#rows tbody tr")
        assert first.text.startswith(most["name"])
        driver.find_element(By.ID, "csv").click()
        exported = tmp_path / "gpt2-on-a100-sxm-80gb.csv"
        browser.wait(lambda: exported.exists() and exported.stat().st_size, "the export")
        with exported.open() as stream:
            seconds = sum(float(row["seconds"]) for row in csv.DictReader(stream))
        assert seconds == pytest.approx(sum(op["seconds"] for op in result["operations"]))
        assert browser.errors(driver) == [] and browser.requested(driver) == []


@pytest.mark.slow
@browser.NEEDED
def test_ticks_of_any_range_are_few_and_evidence_has_its_colours(tmp_path: Path) -> None:
    """From a hundredth of a power of ten to thirty powers; zoomed in as far as a hand goes."""
    page = tmp_path / "page.html"
    run("report", "bert-tiny", "tpu-v4i", "--out", str(page))
    ranges = [(low, low * 10**width) for low in (1.1e-9, 0.3, 1.0, 8.7, 4e12) for width in WIDTHS]
    script = """
      const code = DECADES(), major = new Function("cb_data", code.major_code);
      return arguments[0].map(([start, end]) => major({start, end}));"""
    with browser.opened(page) as driver:
        for (low, high), ticks in zip(ranges, driver.execute_script(script, ranges), strict=True):
            assert 2 <= len(ticks) <= 10 and ticks == sorted(set(ticks)), (low, high, ticks)
            assert all(low * (1 - 1e-6) <= tick <= high * (1 + 1e-6) for tick in ticks)
            if high / low > 2:
                assert len(ticks) <= 6, (low, high, ticks)
        colour = "return [colourOf('another'), colourOf('assumed')]"
        assert driver.execute_script(colour)[1] == "#cc6677"
        assert "background:#cc6677" in page_source(driver)


WIDTHS = (0.31, 0.5, 0.8, 1.0, 1.3, 2.0, 3.0, 4.5, 7.0, 12.0, 30.0)


def page_source(driver: Any) -> str:
    return str(driver.page_source).replace("background: ", "background:")


def test_the_page_says_what_was_simulated(tmp_path: Path) -> None:
    page, words = tmp_path / "page.html", ("gpt2", "h100-sxm-80gb")
    run("report", *words, "--generate", "4", "--batch", "2", "--out", str(page))
    line = "inference, batch 2, 128 tokens, 4 generated, bf16, vllm stack, flash attention"
    assert f"<p>{line}</p>" in page.read_text(encoding="utf-8")
