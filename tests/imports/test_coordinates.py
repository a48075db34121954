"""Boxes out of pickles: what makes numbers is read, what would do anything else is named and never done."""

import os
import pickle
import random
import struct

import numpy as np
import pytest

from anchor.errors import AvatarError
from anchor.imports.coordinates import MAX_BYTES, parse_coordinates, read_coordinates

BOXES = [(10, 200, 30, 180), (11, 201, 300, 70_000), (0, 1, 2, 3)]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", [tuple, list])
def test_numbers_of_every_protocol(protocol, kind):
    boxes = [kind(box) for box in BOXES]
    assert parse_coordinates(pickle.dumps(boxes, protocol)) == BOXES
    assert parse_coordinates(pickle.dumps([(0.0, 0.0, 0.5, -3)], protocol)) == [(0.0, 0.0, 0.5, -3.0)]


@pytest.mark.parametrize("protocol", range(3, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint16, np.float32, np.dtype(">i4").type])
def test_integers_of_numpy_without_numpy(protocol, kind, monkeypatch):
    boxes = [tuple(kind(value) for value in box) for box in ((1, 2, 3, 4), (300, 2, 300, 9))]
    data = pickle.dumps(boxes, protocol)
    monkeypatch.setattr(pickle, "loads", None)
    assert parse_coordinates(data) == [(1, 2, 3, 4), (300, 2, 300, 9)]
    old = data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray") if protocol == 3 else data
    assert parse_coordinates(old) == [(1, 2, 3, 4), (300, 2, 300, 9)]


class Evil:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "wrap", [lambda evil: evil, lambda evil: [evil], lambda evil: [(1, 2, 3, evil)], lambda evil: [(1, 2, 3, 4), evil]]
)
def test_an_evil_pickle_does_not_run(tmp_path, protocol, wrap):
    mark = tmp_path / "ran"
    for evil in (Evil(os.system, f"touch {mark}"), Evil(exec, f"open({str(mark)!r}, 'w')"), Evil(np.dtype, "i8")):
        path = tmp_path / "coords.pkl"
        path.write_bytes(pickle.dumps(wrap(evil), protocol))
        with pytest.raises(AvatarError, match="Nothing of it was run"):
            read_coordinates(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({}, "EMPTY_DICT"),
        ([], "0 boxes"),
        (5, "a int stands where a list"),
        ([(1, 2, 3)], "box 0 is no four numbers"),
        ([(1, 2, 3, 4), 7], "box 1 is no four numbers"),
        ([(1, 2, 3, "4")], "box 0 holds a str"),
        ([(1, 2, 3, True)], "box 0 holds a bool"),
        ([(1, 2, 3, float("nan"))], "box 0 holds a float"),
        ([(1, 2, 3, 10**400)], "box 0 holds a int"),
        ([(1, 2, 3, None)], "box 0 holds a NoneType"),
        (np.zeros((2, 4)), "_reconstruct"),
        (os.path.join, "'posixpath join'"),
        ([{1, 2}], "EMPTY_SET"),
    ],
)
def test_what_is_no_list_of_boxes_is_named(tmp_path, value, says):
    path = tmp_path / "coords.pkl"
    path.write_bytes(pickle.dumps(value))
    with pytest.raises(AvatarError, match=says):
        read_coordinates(path)


def test_bombs_stay_small():
    ring = []
    ring.append(ring)
    for value in (ring, [ring] * 4):
        with pytest.raises(ValueError, match="four numbers"):
            parse_coordinates(pickle.dumps(value))
    doubled = b"(lp0\n" + b"".join(b"(lg0\nag0\nap0\n" for _ in range(20_000)) + b"."  # 2 ** 20000 items, by name
    with pytest.raises(ValueError, match=r"box 0|damaged"):
        parse_coordinates(doubled)
    deep = b"(" * 200_000 + b"t" * 200_000 + b"."
    with pytest.raises(ValueError, match="tuple stands where"):
        parse_coordinates(deep)
    with pytest.raises(ValueError, match="at most"):
        parse_coordinates(b"N" * (MAX_BYTES + 1))


def test_a_file_that_is_none(tmp_path):
    with pytest.raises(AvatarError, match="missing"):
        read_coordinates(tmp_path / "coords.pkl")
    (tmp_path / "coords.pkl").symlink_to("/etc/passwd")
    with pytest.raises(AvatarError, match="not a plain file"):
        read_coordinates(tmp_path / "coords.pkl")
    with open(tmp_path / "large.pkl", "wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(AvatarError, match="no list of boxes needs more"):
        read_coordinates(tmp_path / "large.pkl")


def test_damage_of_any_kind_is_a_sentence():
    chance = random.Random(0)
    seeds = [pickle.dumps(BOXES, protocol) for protocol in range(6)]
    seeds += [pickle.dumps([tuple(np.int64(value) for value in box) for box in BOXES], protocol) for protocol in (3, 4)]
    for _ in range(4000):
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(1, 4)):
            what = chance.random()
            place = chance.randrange(len(data))
            if what < 0.5:
                data[place] = chance.randrange(256)
            elif what < 0.75:
                del data[place : place + chance.randint(1, 8)]
            else:
                data[place:place] = struct.pack("<q", chance.randrange(-(2**63), 2**63))[: chance.randint(1, 8)]
            data = data or bytearray(b".")
        try:
            boxes = parse_coordinates(bytes(data))
        except ValueError:
            continue
        assert all(len(box) == 4 and all(type(value) is float for value in box) for box in boxes)
