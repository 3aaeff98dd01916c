"""Pictures of fronts: what is drawn, that nothing covers anything, what is refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elector.base.errors import ElectorError, InputError
from elector.base.output import save_picture
from transcode import plot
from transcode.pareto import nondominated
from transcode.space import describe, digest, load

COSTS = {
    "latency_s": "s",
    "energy_j": "J",
    "area_mm2": "mm2",
    "power_w": "W",
    "latency_per_sequence_s": "s",
}


#: Settings that the space of `make_run` has, and the header of a short front.csv of it.
SETTINGS = ("model", "accelerator", "model.layers", "accelerator.sram", "accelerator.dataflow")
SHORT = ",".join(("id", *SETTINGS, "workload.task", "latency_s", "accuracy")) + "\n"


def make_run(
    folder: Path, costs: Sequence[str], *, accuracy: bool = True, count: int = 400, seed: int = 0
) -> Path:
    """A run folder with a front of random designs."""
    stream = np.random.default_rng(seed)
    size = 10 ** stream.uniform(-1.5, 1.5, count)
    values = {
        name: 1e-3 * size ** (1 + 0.2 * i) * 10 ** stream.normal(0, 0.4, count)
        for i, name in enumerate(costs)
    }
    signed = list(values.values())
    if accuracy:
        values = {"accuracy": 90 + 3 * np.log10(size) + stream.normal(0, 0.3, count)} | values
        signed = [-values["accuracy"], *signed]
    front = np.flatnonzero(nondominated(np.stack(signed, axis=1)))
    folder.mkdir(parents=True)
    with open(folder / "front.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        extra = ["accuracy_std"] if accuracy else []
        writer.writerow(
            [
                "id",
                *SETTINGS,
                *(["workload.task"] if accuracy else []),
                *values,
                *extra,
                "feasible",
            ]
        )
        for i in front:
            row = [
                i,
                "encoder",
                "systolic",
                2 + i % 5,
                1e6 * (1 + i % 7),
                ["ws", "os", "is"][i % 3],
            ]
            row += ["sst2"] if accuracy else []
            row += [repr(float(column[i])) for column in values.values()]
            writer.writerow([*row, *(["1.25"] if accuracy else []), "true"])
    objectives = [
        {
            "name": name,
            "direction": "max" if name == "accuracy" else "min",
            "unit": COSTS.get(name, "%"),
        }
        for name in values
    ]
    write(
        folder / "front.json",
        {"space": "bert", "seed": 7, "objectives": objectives, "hypervolume": 0.81},
    )
    space = {
        "name": "bert",
        "model": "encoder",
        "accelerator": "systolic",
        "workload": {"task": "sst2"} if accuracy else {},
        "objectives": {str(o["name"]): o["direction"] for o in objectives},
    }
    if any(name.startswith("serve.") for name in costs):
        space["workloads"] = {"serve": {"mode": "inference"}}
        space["objectives"] = {f"serve.{name}": "min" for name in ("latency_s", "energy_j")}
    description = describe(load(space))
    write(
        folder / "manifest.json",
        {
            "space": description,
            "space_sha256": digest(description),
            "simulator": {},
            "seed": 7,
            "sampler": {"asked": "auto", "used": "evolve", "why": "it is a test"},
            "batch": 1,
            "status": "finished: budget reached",
            "designs": 12_345,
            "front": len(front),
            "hypervolume": 0.81,
            "accuracy": {"text": "accuracy (x): m\n  p"},
        },
    )
    return folder


def write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def picture_of(folder: Path) -> plot.Picture:
    with open(folder / "front.csv", newline="", encoding="utf-8") as file:
        table = list(csv.reader(file))
    columns = {name: [row[i] for row in table[1:]] for i, name in enumerate(table[0])}
    front = json.loads((folder / "front.json").read_text(encoding="utf-8"))
    return plot.info(columns, front, 12_345, ["the error"])


def test_values_labels_and_caption(tmp_path: Path) -> None:
    picture = picture_of(make_run(tmp_path / "run", ["latency_s", "area_mm2"]))
    assert [axis.name for axis in picture.axes] == ["latency_s", "area_mm2", "accuracy"]
    latency, _, accuracy = picture.axes
    labels = [axis.label.replace("\u00a0", " ") for axis in picture.axes]
    assert labels[0] in ("latency [µs] ↓", "latency [ms] ↓") and latency.log
    assert labels[1:] == ["area [mm²] ↓", "accuracy [%] ↑"]
    assert accuracy.maximise and not accuracy.log
    assert picture.std is not None and np.all(picture.std == 1.25)
    assert set(picture.kinds) == {"is", "os", "ws"} and picture.kind_title == "dataflow"
    assert "of 12,345 evaluated" in picture.caption and "seed 7" in picture.caption
    assert picture.caption.endswith("The error.")


def test_prefix_keeps_both_ends_readable() -> None:
    front = {"objectives": [{"name": "latency_s", "direction": "min", "unit": "s"}]}
    for low, high, label in [
        (2e-6, 3e-3, "µs"),
        (2e-6, 0.25, "ms"),
        (0.2, 4.0, "[s]"),
        (3e-9, 5e-8, "ns"),
    ]:
        picture = plot.info({"latency_s": [repr(low), repr(high)]}, front)
        assert label in picture.axes[0].label, (low, high, picture.axes[0].label)


def test_marks_are_the_knee_and_the_best_of_each(tmp_path: Path) -> None:
    picture = picture_of(make_run(tmp_path / "run", ["latency_s", "energy_j"]))
    titles = [mark.title for mark in picture.marks]
    for axis, word in zip(picture.axes, ("latency", "energy", "accuracy"), strict=True):
        best = next(mark for mark in picture.marks if word in mark.title)
        assert axis.cost[best.index] == axis.cost.min()
    assert sum("knee" in title for title in titles) == 1
    knee = picture.marks[next(i for i, title in enumerate(titles) if "knee" in title)]
    assert knee.index == plot.knee(picture.axes)
    assert "sram" in knee.settings and "MB" in knee.settings
    assert "± 1.2" in knee.results.replace("\u00a0", " ")


@pytest.mark.parametrize(
    ("name", "values", "unit", "label", "card"),
    [
        ("tokens_per_s", (3088.2, 9000.0), "token/s", "token rate [tokens/s] ↑", "3,088 tokens/s"),
        ("serve.tokens_per_s", (0.3, 9e5), "", "serve token rate [tokens/s] ↑", "0.3 tokens/s"),
        ("memory_bytes.weights", (44.9e6, 9e7), "byte", "memory of weights [MB] ↑", "44.9 MB"),
        ("peak_ops_per_s", (22.9e12, 9e14), "op/s", "peak [Top/s] ↑", "22.9 Top/s"),
        ("area_mm2", (2490.0, 3000.0), "mm2", "area [mm²] ↑", "2,490 mm²"),
        ("run.latency_s", (2000.0, 33300.0), "s", "run latency [h] ↑", "33.3 min"),
        ("run.energy_j", (9.57e6, 2e7), "J", "run energy [kWh] ↑", "2.66 kWh"),
        ("utilization", (0.25, 0.5), "", "utilization [%] ↑", "25.0 %"),
        ("run.lifetime_runs", (5e8, 9e8), "", "run lifetime in runs ↑", "runs 500,000,000"),
        ("edp", (1.2e-6, 2e-6), "J*s", "edp [µJ s] ↑", "1.20 µJ s"),
        ("density", (12.5, 20.0), "token/s/mm2", "density [tokens/s/mm²] ↑", "12.5 tokens/s/mm²"),
        ("my_figure", (3.0, 4.0), "", "my figure ↑", "my figure 3"),
    ],
)
def test_axes_and_cards_have_the_units_of_the_registry(
    name: str, values: tuple[float, float], unit: str, label: str, card: str
) -> None:
    objectives = [
        {"name": name, "direction": "max", "unit": unit},
        {"name": "latency_s", "direction": "min", "unit": "s"},
    ]
    columns = {name: [repr(v) for v in values], "latency_s": ["1e-3", "2e-3"]}
    picture = plot.info(columns, {"objectives": objectives})
    axis = picture.axes[0]
    assert axis.label.replace("\u00a0", " ") == label
    first = next(mark for mark in picture.marks if mark.index == 0)
    assert card in first.results.replace("\u00a0", " ")
    assert np.allclose(axis.values * axis.size, values)


def test_long_titles_and_ticks_stay_on_the_page() -> None:
    """Several long names, and counts of nine digits, as hpt has them."""
    names = [f"a_workload_of_a_long_name.{n}" for n in ("latency_per_sequence_s", "energy_j")]
    names += ["run.lifetime_runs", "run.energy_per_sequence_j"]
    columns = {n: ["2.0", "3e8", "5e4"] for n in names}
    front = {"space": "s", "objectives": [{"name": n, "direction": "min"} for n in names]}
    figure = plot.draw(plot.info(columns, front))
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    for ax in figure.axes:
        frame = ax.get_window_extent(renderer)
        labels = [*ax.get_xticklabels(), *ax.get_yticklabels(), ax.xaxis.label, ax.yaxis.label]
        for text in [t for t in labels if t.get_visible() and t.get_text()]:
            box = text.get_window_extent(renderer)
            if box.x0 > frame.x1 or box.y0 > frame.y1:  # ticks beyond the axis are not drawn
                continue
            assert box.x0 >= 0 and box.x1 <= figure.bbox.x1, text.get_text()
    for text in figure.texts:
        box = text.get_window_extent(renderer)
        assert box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1, text


@pytest.mark.parametrize("count", [2, 3, 4])
def test_a_name_that_is_longer_than_its_axis_is_cut(count: int) -> None:
    """Beside the axis nothing overlaps it, and its unit and arrow stay."""
    names = ["a_name_of_somebody_who_says_all_of_it_" * 3 + str(i) for i in range(count)]
    columns = {n: ["2.0", "3.0", "4.0"] for n in names}
    front = {"space": "s", "objectives": [{"name": n, "direction": "min"} for n in names]}
    figure = plot.draw(plot.info(columns, front))
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    for ax in figure.axes:
        frame = ax.get_window_extent(renderer)
        for text in (ax.xaxis.label, ax.yaxis.label):
            if not text.get_text() or ax.get_label() == "<colorbar>":
                continue
            box = text.get_window_extent(renderer)
            along_x = text is ax.xaxis.label
            assert (box.width if along_x else box.height) <= (
                frame.width if along_x else frame.height
            ), text.get_text()
            assert "\u2026" in text.get_text() and text.get_text()[-1] == "\u2193"


def test_shapes_are_machines_where_several_are_searched(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", ["latency_s", "energy_j"])
    text = (folder / "front.csv").read_text(encoding="utf-8").splitlines()
    text[2::2] = [
        line.replace("systolic", "acceltran-edge").replace(",ws", ",") for line in text[2::2]
    ]
    (folder / "front.csv").write_text("\n".join(text) + "\n", encoding="utf-8")
    assert picture_of(folder).kinds == ("acceltran-edge", "systolic")


@pytest.mark.parametrize(
    "name",
    [
        *(r"a$\x$", "a\x1b[31m"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("a$b$", "\u6a21")),
    ],
)
def test_names_are_drawn_as_they_are(
    tmp_path: Path, name: str, recwarn: pytest.WarningsRecorder
) -> None:
    """A $ in the name of a model begins no formula, which ended a search in a traceback."""
    picture = picture_of(make_run(tmp_path / "run", ["latency_s", "energy_j"]))
    kinds = (name, *picture.kinds, "other")
    named = replace(picture, kinds=kinds, title=f"{name}: {picture.title}", caption=name)
    figure = plot.draw(named)
    save_picture(figure, tmp_path / "a.png", 50)
    assert not recwarn.list and (tmp_path / "a.png").stat().st_size > 1000
    said = [text.get_text() for text in figure.texts]
    assert name.replace("\x1b", "\\x1b") in said


def test_settings_of_one_name_are_told_apart() -> None:
    columns = {
        "latency_s": ["1", "2"],
        "accelerator.units.array.bandwidth": ["1e9", "2e9"],
        "accelerator.units.tier.bandwidth": ["3e9", "4e9"],
        "model.feed_forward": ["512", "1024"],
    }
    front = {"objectives": [{"name": "latency_s", "direction": "min", "unit": "s"}]}
    settings = plot.info(columns, front).marks[0].settings.replace("\u00a0", " ")
    assert settings == "array bandwidth 1.00 GB/s, tier bandwidth 3.00 GB/s, ff 512"


def test_a_single_objective_names_its_design() -> None:
    columns = {
        "id": ["3", "4"],
        "model": ["encoder"] * 2,
        "accelerator": ["systolic"] * 2,
        "model.layers": ["6", "6"],
        "accelerator.sram": ["4e6", "8e6"],
        "latency_s": ["0.002", "0.002"],
    }
    front = {"space": "x", "objectives": [{"name": "latency_s", "direction": "min", "unit": "s"}]}
    picture = plot.info(columns, front)
    settings = picture.marks[0].settings.replace("\u00a0", " ")
    assert settings == "encoder, systolic, layers 6, sram 4.00 MB"


def test_knee_of_a_known_front() -> None:
    axes = [
        plot.Axis("a", "a", "", np.array([1.0, 2.0, 10.0]), maximise=False, log=False),
        plot.Axis("b", "b", "", np.array([10.0, 2.0, 1.0]), maximise=False, log=False),
    ]
    assert plot.knee(axes) == 1


@pytest.mark.parametrize(
    ("count", "accuracy"),
    [
        *((1, False), (2, True), (3, True), (5, True)),
        *(pytest.param(*c, marks=pytest.mark.slow) for c in ((2, False), (4, True), (5, False))),
    ],
)
def test_nothing_covers_anything(tmp_path: Path, count: int, accuracy: bool) -> None:
    costs = list(COSTS)[: count - 1 if accuracy else count]
    picture = picture_of(make_run(tmp_path / "run", costs, accuracy=accuracy))
    figure = plot.draw(picture)
    assert figure.get_size_inches()[0] * 100 == 1200
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    panels = [ax for ax in figure.axes if ax.lines]
    assert len(panels) == max(1, (count - 1) * count // 2)
    free = [text.get_window_extent(renderer) for text in figure.texts if len(text.get_text()) > 1]
    free += [legend.get_window_extent(renderer) for legend in figure.legends]
    frames = [ax.get_window_extent(renderer) for ax in panels]
    page = figure.bbox
    for box in free:
        assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1
        assert not any(overlap(box, frame) for frame in frames)
    assert not any(overlap(a, b) for a, b in combinations(free, 2))
    for ax in panels:
        badges = [text.get_bbox_patch().get_window_extent(renderer) for text in ax.texts]
        assert len(badges) == len(picture.marks)
        assert not any(overlap(a, b) for a, b in combinations(badges, 2))
        for axis in (ax.xaxis, ax.yaxis):
            shown = [t for t in axis.get_ticklabels() if t.get_visible() and t.get_text()]
            boxes = [t.get_window_extent(renderer) for t in shown]
            assert not any(overlap(a, b) for a, b in combinations(boxes, 2)), ax


def overlap(a: Any, b: Any, slack: float = 1.0) -> bool:
    """Whether two boxes share more than a line of pixels."""
    return bool(
        min(a.x1, b.x1) - max(a.x0, b.x0) > slack and min(a.y1, b.y1) - max(a.y0, b.y0) > slack
    )


def test_staircase_is_what_nothing_beats_in_the_pair(tmp_path: Path) -> None:
    picture = picture_of(make_run(tmp_path / "run", ["latency_s", "energy_j"]))
    ax = plot.draw(picture).axes[1]  # accuracy over latency
    stairs = ax.lines[0]
    points = np.stack([picture.axes[0].cost, picture.axes[2].cost], axis=1)
    expected = points[nondominated(points)]
    assert stairs.get_drawstyle() == "steps-post"
    drawn = np.stack([stairs.get_xdata(), -np.asarray(stairs.get_ydata())], axis=1)
    assert np.allclose(np.sort(drawn, axis=0), np.sort(expected, axis=0))


def test_many_settings_and_objectives_are_cut_not_spilt(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", ["latency_s", "energy_j"])
    picture = picture_of(folder)
    long = ", ".join(f"setting\u00a0{i}\u00a0{i}" for i in range(80))
    marks = tuple(plot.Mark(m.index, m.title, m.results, long) for m in picture.marks)
    figure = plot.draw(replace(picture, marks=marks))
    assert any(text.get_text().endswith("…") for text in figure.texts)
    lowest = min(t.get_window_extent().y0 for t in figure.texts if "setting" in t.get_text())
    assert lowest >= figure.axes[2].get_window_extent().y1 - 1.0


def test_six_objectives_keep_the_accuracy() -> None:
    names = [*COSTS, "accuracy"]
    front = {"objectives": [{"name": n, "direction": "min", "unit": ""} for n in names]}
    picture = plot.info({name: ["1.0", "2.0"] for name in names}, front)
    assert len(picture.axes) == 5 and picture.axes[-1].name == "accuracy"
    assert "1 further objective is not drawn" in picture.caption


def test_a_run_becomes_a_picture_twice_the_same(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", ["latency_s"])
    first = plot.plot_run(folder)
    assert first == folder / "front.png" and first.stat().st_size > 20_000
    second = plot.plot_run(folder, tmp_path / "again.png")
    assert first.read_bytes() == second.read_bytes()
    assert plot.plot_run(folder, tmp_path / "front.svg").read_text("utf-8").startswith("<?xml")


def test_task_of_the_space_stands_in_for_a_missing_record() -> None:
    assert "leave-one-out" in plot._notes({"space": {"workload": {"task": "sst2"}}})[0]
    assert plot._notes({"space": {"workload": {"task": "mine"}}}) == ()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("manifest.json", None, "no manifest"),
        ("manifest.json", "{", "is damaged"),
        ("manifest.json", "[]", "is not a run's manifest"),
        ("manifest.json", "{}", "is not the manifest of a run"),
        ("front.csv", None, "has no recorded designs any more"),
        ("front.csv", "", "it has no column id"),
        ("front.csv", f"{SHORT}1\n", "a row has 1 cells"),
        ("front.csv", "id,accuracy\n1,90\n", "no column"),
        (
            "front.csv",
            f"{SHORT}1,encoder,systolic,2,1e6,ws,sst2,nan,90\n",
            "a design has no latency_s",
        ),
        ("front.csv", f"{SHORT}1,encoder,systolic,2,1e6,ws,sst2,slow,90\n", "slow"),
        ("front.csv", SHORT, "it has 0 designs, the front"),
    ],
)
def test_broken_run_folders_are_refused(
    tmp_path: Path, name: str, content: str | None, words: str
) -> None:
    folder = make_run(tmp_path / "run", ["latency_s"])
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content, encoding="utf-8")
    with pytest.raises(ElectorError, match=words):
        plot.plot_run(folder)
    assert not (folder / "front.png").exists()


@pytest.mark.parametrize("feasible", ["", "1,1,90,false\n"])
def test_a_front_without_designs_is_not_drawn(feasible: str) -> None:
    names = "id,latency_s,accuracy,feasible"
    rows = [line.split(",") for line in (names + "\n" + feasible).splitlines()]
    columns = {name: [row[i] for row in rows[1:]] for i, name in enumerate(rows[0])}
    with pytest.raises(InputError, match="no design"):
        plot.info(columns, {"objectives": [{"name": "latency_s"}]})


@pytest.mark.parametrize("out", ["absent/front.png", "front.nonsense"])
def test_output_that_cannot_be_written_is_refused(tmp_path: Path, out: str) -> None:
    folder = make_run(tmp_path / "run", ["latency_s"])
    with pytest.raises(InputError, match="cannot be written"):
        plot.plot_run(folder, tmp_path / out)


def test_ticks_of_any_size_are_short() -> None:
    """So that they leave the label of their axis its room."""
    from transcode.plot.figure import _plain

    for power in range(-3, 15):
        for factor in (1, 2, 3, 5):
            assert len(_plain(factor * 10.0**power)) <= 5
    assert [_plain(v) for v in (1600.0, 10e3, 1e5, 2.5e6)] == ["1,600", "10 k", "100 k", "2.5 M"]
