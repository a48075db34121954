"""`anchor shards` as a user gives it, and what a set holds."""

from damaging import read_all

from anchor.__main__ import main
from anchor.shards import ShardSet


def anchor(capsys, *words):
    """Status, output and error output of a command."""
    status = main(["shards", *map(str, words)])
    said = capsys.readouterr()
    return status, said.out, said.err


def contents(path):
    return dict(read_all(ShardSet(path)))
