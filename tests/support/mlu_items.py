"""Items of a qualification that break, each in its own way; forks import them by their name."""

import os
import signal
import time

from launch.mlu_qualify.outcome import UNFIT, Item, NotHereError


def _item(run, ranks=1, timeout_s=30, needs_real_card=False):
    return Item(run.__name__, "does it break?", run, ranks, timeout_s, needs_real_card, {"ITEM_SAYS": "hello"})


def works(scene):
    print("words of an item")
    return f"{os.environ['ITEM_SAYS']} from rank {scene.rank} of {scene.ranks}"


def raises(scene):
    raise ValueError("a card said no\nand more")


def crashes(scene):
    os.kill(os.getpid(), signal.SIGSEGV)


def sleeps(scene):
    time.sleep(600)


def second_rank_raises(scene):
    if scene.rank == 1:
        raise ValueError("rank 1 said no")
    time.sleep(600)


def is_unfit(scene):
    raise NotHereError("no such unit", UNFIT)


ITEMS = [
    _item(works),
    _item(works, ranks=2),
    _item(works, ranks=3),
    _item(works, needs_real_card=True),
    _item(raises),
    _item(crashes),
    _item(sleeps, timeout_s=2),
    _item(second_rank_raises, ranks=2),
    _item(is_unfit),
]
