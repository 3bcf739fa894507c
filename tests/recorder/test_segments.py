"""The file format: a prefix of a segment is a prefix of its frames, wherever it was cut."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research.campaigns import recorder as campaign
from research.recorder import folder as folders
from research.sources.recordings import segments


def written(path, n_blocks=4, each=3):
    with segments.Writer(path, {"streams": ["", "a@trade"]}) as writer:
        edges, number = [writer.size], 0
        for _ in range(n_blocks):
            pages = segments.Pages()
            for _ in range(each):
                frame = b'{"n":%d}' % number
                pages.add(
                    *(frame,),
                    received_ns=number,
                    monotonic_ns=number,
                    connection=1,
                    sequence=number,
                    stream=1,
                )
                number += 1
            writer.append(*pages.take())
            edges.append(writer.size)
    return edges


def frames(path):
    return [json.loads(f)["n"] for block in segments.blocks(path) for f in block.frames()]


def test_every_cut_leaves_whole_blocks(tmp_path):
    path = tmp_path / "a.seg"
    edges = written(path)
    whole = path.read_bytes()
    for size in range(edges[0], len(whole) + 1):
        path.write_bytes(whole[:size])
        full = sum(edge <= size for edge in edges) - 1
        assert frames(path) == list(range(3 * full))
        assert segments.mend(path) == size - edges[full] and path.stat().st_size == edges[full]


@settings(max_examples=60, deadline=None)
@given(at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_spoils_one_block_and_is_found(tmp_path_factory, at, bit):
    path = tmp_path_factory.mktemp("bits") / "a.seg"
    edges = written(path)
    data = bytearray(path.read_bytes())
    place = edges[0] + int(at * (edges[-1] - edges[0]))
    data[place] ^= 1 << bit
    path.write_bytes(bytes(data))
    spoilt = int(np.searchsorted(edges, place, "right")) - 1
    left = [n for n in range(12) if n // 3 != spoilt]
    assert frames(path) == left
    expected = [] if spoilt == 3 else [(max(3 * spoilt - 1, 0), 3 * spoilt + 3)]
    assert segments.damage(path) == expected


def test_damage_is_declared_once(tmp_path):
    (tmp_path / "segments").mkdir()
    path = tmp_path / "segments" / "000001_a.seg"
    edges = written(path)
    data = bytearray(path.read_bytes())
    data[edges[1] + 30] ^= 1
    path.write_bytes(bytes(data))
    for _ in range(2):
        folders.recover(tmp_path)
    (gap,) = segments.gaps(tmp_path).to_dicts()
    assert (gap["start_ns"], gap["end_ns"], gap["reason"]) == (2, 6, folders.DAMAGED)


def test_facts_that_cannot_be_read_are_named(tmp_path):
    path = tmp_path / "a.seg"
    written(path)
    path.write_bytes(path.read_bytes()[30:])
    with pytest.raises(segments.Damaged, match=r"segment a\.seg: its facts"):
        segments.facts(path)


def test_a_torn_line_does_not_spoil_the_next(tmp_path):
    line = {"gap": 0, "symbol": None, "stream": None, "start_ns": 1, "end_ns": 2, "lost": None}
    text = json.dumps(line | {"reason": "x"}) + "\n"
    (tmp_path / segments.LEDGER).write_text(text + text[:20])
    with (tmp_path / segments.LEDGER).open("ab+") as file:
        file.write(segments.new_line(file.fileno()))
        file.write(text.replace('"gap": 0', '"gap": 1').encode())
    assert sorted(segments.ledger(tmp_path)) == [0, 1]


def test_kills_lose_a_second_at_most_and_are_declared():
    found = campaign.run(4, longest=0.4)
    assert found["kills"] == found["said"] == 4 and found["messages"] > 500
    assert found["undeclared"] == [] and found["repeated"] == found["unreadable"] == 0
    assert found["longest_loss_s"] <= 1.0
