"""What a record says about itself before it is played again."""

import pytest

from research.errors import UserError
from research.live import replay

from .shown import START, begun, folder, write


def swap(model, was, kind="swap"):
    return kind, {"time": START, "model": model, "was": was, "at": START, "why": "x"}


def test_the_way_back_is_what_was_in_force_and_is_kept(tmp_path):
    place = folder(tmp_path)
    for name in ("ridge-1", "b", "c"):
        (place / "models" / name).mkdir(parents=True)
    write(place, *begun(), swap("b", "ridge-1"), swap("c", "b"))
    assert replay.way_back(place) == ["ridge-1", "b"]
    write(place, swap("b", "c", "rollback"))
    assert replay.way_back(place) == ["ridge-1"]
    (place / "models" / "ridge-1").rmdir()
    with pytest.raises(UserError, match="there is no earlier model to go back to"):
        replay.way_back(place)


def test_without_a_model_before_there_is_no_way_back(tmp_path):
    place = folder(tmp_path)
    write(place, *begun())
    with pytest.raises(UserError, match="no earlier model") as caught:
        replay.way_back(place)
    assert "\n" not in str(caught.value)
