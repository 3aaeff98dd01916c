"""Names of files that are not UTF-8, and texts that no file can hold."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from programs import run

from elector.base.errors import InputError
from elector.base.junit import JUnitCase, document
from elector.base.spelling import dumps, require_text, spelled
from elector.base.table import load_json, load_yaml
from transcode.space import load

ODD = os.fsdecode(b"m\xff")
MODEL = Path(__file__).parents[2] / "docs" / "examples" / "model.yaml"


def test_halves_of_pairs_are_spelled_out_and_pairs_are_not() -> None:
    assert spelled(f"{ODD} \U0001f600 ÿ") == "m\\udcff \U0001f600 ÿ"
    told = {ODD: [ODD, {"pair": "\U0001f600", "none": None}]}
    for ascii_only in (True, False):
        text = dumps(told, ensure_ascii=ascii_only)
        assert text.encode()
        expected = {"m\\udcff": ["m\\udcff", {"pair": "\U0001f600", "none": None}]}
        assert json.loads(text) == expected
    assert 'name="m\\udcff"' in document(ODD, ODD, [JUnitCase(ODD, ODD)])


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (r'{"a": {"b": ["x", "\ud800"]}}', "a.b.1"),
        (r'{"a": {"\uDfFf": 1}}', r"a.\udfff"),
        (r'["\ude00\ud83d"]', "0"),  # the wrong way round
    ],
)
def test_json_with_half_of_a_pair_is_refused(tmp_path: Path, text: str, place: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError) as error:
        load_json(tmp_path / "a.json")
    assert f"a.json: {place}: is not text: it has half of a surrogate pair" in str(error.value)


def test_a_whole_pair_is_text(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(r'["\ud83d\ude00"]')
    assert load_json(tmp_path / "a.json") == ["\U0001f600"]
    require_text(["\U0001f600"])


def test_yaml_with_half_of_a_pair_is_refused(tmp_path: Path) -> None:
    for text in (r'name: "\ud800"', r'name: "\U0000dfff"', r'"\ud800": 1'):
        (tmp_path / "a.yaml").write_text(text)
        with pytest.raises(InputError, match=r"a\.yaml"):
            load_yaml(tmp_path / "a.yaml")


def test_every_file_of_elector_takes_such_names(tmp_path: Path) -> None:
    model = f"{ODD}.yaml"
    shutil.copy(MODEL, tmp_path / model)
    done = run("elector", "simulate", model, "systolic", "--format", "json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    json.dumps(json.loads(done.stdout), ensure_ascii=False).encode()
    (tmp_path / f"{ODD}.csv").write_text("model,accelerator\nbert-tiny,systolic\n")
    for words in (
        ("trace", model, "systolic", "--out", f"{ODD}.json", "--plot", f"{ODD}.png"),
        ("report", model, "systolic", "--out", f"{ODD}.html"),
        ("sweep", f"{ODD}.csv", "--out", f"{ODD}-s.csv", "--junit", f"{ODD}-s.xml"),
        ("sweep", f"{ODD}.csv", "--out", f"{ODD}-s.json"),
        ("sweep", f"{ODD}.csv", "--out", f"{ODD}-s.parquet"),
        ("compare", f"{ODD}-s.csv", f"{ODD}-s.json", "--junit", f"{ODD}-c.xml"),
        ("compare", f"{ODD}-s.parquet", f"{ODD}-s.json"),
    ):
        done = run("elector", *words, cwd=tmp_path)
        assert done.returncode == 0, (words, done.stderr)
    for made in tmp_path.iterdir():
        if made.suffix in (".json", ".html", ".csv", ".xml"):
            made.read_bytes().decode("utf-8")
    assert r"m\udcff-s.csv" in (tmp_path / f"{ODD}-c.xml").read_text()


def test_a_space_of_a_program_has_no_halves_either() -> None:
    with pytest.raises(InputError, match=r"model\.base: is not text"):
        load({"model": {"base": "\ud800"}, "accelerator": "systolic"})
    with pytest.raises(InputError, match="is not text"):
        load({"\udcff": 1})
