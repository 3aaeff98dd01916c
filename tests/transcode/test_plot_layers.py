from __future__ import annotations

from transcode.plot.layers import is_of_layer, summary


def columns(**changed: str) -> dict[str, list[str]]:
    settings = {"model.layers": "2", "accelerator.pe": "64"}
    for layer in (1, 2, 3):
        at = f"model.layer{layer}."
        settings |= {
            f"{at}hidden": "128",
            f"{at}heads": "2",
            f"{at}head1": "sdp",
            f"{at}head2": "c5",
            f"{at}head3": "dft",
            f"{at}feed_forward1": "512",
            f"{at}feed_forward2": "0",
            f"{at}feed_forward3": "256",
        }
    settings |= {key.replace("__", "."): value for key, value in changed.items()}
    return {key: [value] for key, value in settings.items()}


def test_only_what_is_there_is_told() -> None:
    assert summary(columns(), 0) == ["hidden 128", "heads 2", "2 sdp 2 c5", "ff 512+256"]


def test_layers_that_differ() -> None:
    lines = summary(columns(model__layer2__hidden="768", model__layer2__heads="1"), 0)
    assert lines == ["hidden 128 | 768", "heads 2 | 1", "2 sdp 1 c5", "ff 512+256"]


def test_other_models_have_none() -> None:
    assert summary({"model.layers": ["4"], "model.hidden": ["128"]}, 0) == []
    assert is_of_layer("model.layer3.head12") and not is_of_layer("model.layers")
