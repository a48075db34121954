"""A list of face boxes out of a pickle, without unpickling it.

``pickletools`` of the standard library splits the bytes into operations and runs none. The few that build lists, tuples
and numbers are followed here; any other ends the reading. No global is ever looked up: two names of numpy, by which
older files spell an integer, are compared as text, and stand for nothing but "here follow the bytes of a number".
"""

from __future__ import annotations

import pickletools
import struct
from pathlib import Path
from typing import Any, NamedTuple

from anchor.errors import AvatarError

__all__ = ["MAX_BYTES", "MAX_ROWS", "parse_coordinates", "read_coordinates"]

MAX_BYTES = 2 * 2**20  # of a file: 7500 boxes, the most that a clip holds, have at most 0.8 MB
MAX_ROWS = 100_000  # an hour at 25 a second
MAX_VALUE = 2**20  # px
SCALARS = {"numpy.core.multiarray scalar", "numpy._core.multiarray scalar"}
TYPES = {"numpy dtype"}
FORMATS = {"i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I", "u8": "Q", "f4": "f", "f8": "d"}

PUSHES = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "SHORT_BINUNICODE",
    "BINUNICODE", "UNICODE", "SHORT_BINBYTES", "BINBYTES",
}  # fmt: skip
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
PUTS, GETS = {"PUT", "BINPUT", "LONG_BINPUT"}, {"GET", "BINGET", "LONG_BINGET"}
SHORT_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Name(NamedTuple):
    """A global's name, as text."""

    text: str


class _NumberType(NamedTuple):
    """How the bytes of a number are to be read."""

    format: str


_MARK = _Name("(")


def read_coordinates(path: Path) -> list[tuple[float, float, float, float]]:
    """The boxes in the pickle at ``path``: four finite numbers each, in the order of the file.

    Raises:
        AvatarError: it is missing, a link, too large, damaged, or holds anything but a list of four numbers each.
    """
    path = Path(path)
    if path.is_symlink() or not path.is_file():
        raise AvatarError(f"{path} is missing or not a plain file. Copy the avatar's folder again.")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise AvatarError(f"{path} has {size} bytes, and no list of boxes needs more than {MAX_BYTES}.")
    try:
        return parse_coordinates(path.read_bytes())
    except ValueError as error:
        raise AvatarError(
            f"{path} is no list of boxes: {error}. Nothing of it was run. Make it again, or find the faces anew: "
            "boxes=detected."
        ) from None


def parse_coordinates(data: bytes) -> list[tuple[float, float, float, float]]:
    """The boxes in a pickle of a list of four numbers each, plain or of numpy.

    Raises:
        ValueError: it is damaged, or holds, or would do, anything else; the operation is named.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"{len(data)} bytes, at most {MAX_BYTES} are read")
    rows = _follow(data)
    if not isinstance(rows, list):
        raise ValueError(f"a {_kind(rows)} stands where a list is expected")
    if not 1 <= len(rows) <= MAX_ROWS:
        raise ValueError(f"{len(rows)} boxes, 1 to {MAX_ROWS} are read")
    return [_box(row, number) for number, row in enumerate(rows)]


def _box(row: Any, number: int) -> tuple[float, float, float, float]:
    if type(row) not in (list, tuple) or len(row) != 4:
        raise ValueError(f"box {number} is no four numbers")
    for value in row:
        if type(value) not in (int, float) or not abs(value) <= MAX_VALUE:  # which nan is not either
            raise ValueError(f"box {number} holds a {_kind(value)} that is no place in a picture")
    return float(row[0]), float(row[1]), float(row[2]), float(row[3])


def _follow(data: bytes) -> Any:
    """What the operations leave: a list, a tuple, a number, a text, or one of the classes above."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    place = 0
    try:
        for operation, argument, at in pickletools.genops(data):
            name, place = operation.name, at or 0
            value: Any = argument
            if name in PUSHES:
                stack.append(value)
            elif name in CONSTANTS:
                stack.append(CONSTANTS[name])
            elif name == "MARK":
                stack.append(_MARK)
            elif name == "EMPTY_LIST":
                stack.append([])
            elif name == "LIST":
                stack.append(_to_mark(stack))
            elif name == "APPEND":
                item = stack.pop()
                _list(stack).append(item)
            elif name == "APPENDS":
                items = _to_mark(stack)
                _list(stack).extend(items)
            elif name == "TUPLE":
                stack.append(tuple(_to_mark(stack)))
            elif name in SHORT_TUPLES:
                stack.append(_take(stack, SHORT_TUPLES[name]))
            elif name in PUTS:
                memo[value] = stack[-1]
            elif name == "MEMOIZE":
                memo[len(memo)] = stack[-1]
            elif name in GETS:
                stack.append(memo[value])
            elif name == "GLOBAL":
                stack.append(_allowed(value))
            elif name == "STACK_GLOBAL":
                stack.append(_allowed(" ".join(map(str, _take(stack, 2)))))
            elif name == "REDUCE":
                stack.append(_number(*_take(stack, 2)))
            elif name == "BUILD":
                stack.append(_ordered(*_take(stack, 2)))
            elif name == "STOP":
                if len(stack) == 1:
                    return stack[0]
                break
            elif name not in ("PROTO", "FRAME"):
                raise ValueError(f"the operation {name} is not one that makes a list of numbers")
    except (IndexError, KeyError, TypeError, struct.error, OverflowError, RecursionError):
        raise ValueError(f"it is damaged at byte {place}") from None
    raise ValueError(f"it is damaged at byte {place}")


def _take(stack: list[Any], count: int) -> tuple[Any, ...]:
    if len(stack) < count:
        raise IndexError
    taken = tuple(stack[len(stack) - count :])
    del stack[len(stack) - count :]
    return taken


def _to_mark(stack: list[Any]) -> list[Any]:
    taken = []
    while (item := stack.pop()) is not _MARK:
        taken.append(item)
    return taken[::-1]


def _list(stack: list[Any]) -> list[Any]:
    if type(stack[-1]) is not list:
        raise TypeError
    return stack[-1]  # type: ignore[no-any-return]


def _allowed(name: str) -> _Name:
    if name not in SCALARS | TYPES:
        raise ValueError(f"it asks for {name[:80]!r}, and nothing is looked up for a file")
    return _Name(name)


def _number(name: Any, arguments: Any) -> Any:
    """What numpy's two names stand for: the kind of a number, or a number of that kind from its bytes."""
    if type(name) is _Name and type(arguments) is tuple and arguments:
        if name.text in TYPES and arguments[0] in FORMATS:
            return _NumberType("<" + FORMATS[arguments[0]])
        if name.text in SCALARS and len(arguments) == 2 and type(arguments[0]) is _NumberType:
            return struct.unpack(arguments[0].format, arguments[1])[0]
    raise ValueError("it calls something with what makes no number")


def _ordered(kind: Any, state: Any) -> _NumberType:
    """``kind`` with the order of bytes that ``state`` tells, at its second place; the rest says nothing of a number."""
    if type(kind) is not _NumberType or type(state) is not tuple or len(state) < 2 or state[1] not in ("<", "|", ">"):
        raise ValueError("it changes something that is no kind of a number")
    return _NumberType(kind.format.replace("<", ">" if state[1] == ">" else "<"))


def _kind(value: Any) -> str:
    return "name" if isinstance(value, tuple) and isinstance(value, (_Name, _NumberType)) else type(value).__name__
