"""Which cards the environment leaves visible."""

from __future__ import annotations

import os

__all__ = ["VARIABLES", "visible_cards"]

VARIABLES = ("CN_VISIBLE_DEVICES", "MLU_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES")  # the first that is set counts


def visible_cards(total: int) -> list[int]:
    """The ordinals of ``total`` cards that the first variable set leaves; all where none is.

    As the driver reads it: the list ends before the first word that is no ordinal, and an ordinal named twice makes it
    empty.
    """
    text = next((os.environ[name] for name in VARIABLES if name in os.environ), None)
    if text is None:
        return list(range(total))
    cards: list[int] = []
    for word in (part.strip() for part in text.split(",")):
        if not word.isdigit() or int(word) >= total:
            break
        if int(word) in cards:
            return []
        cards.append(int(word))
    return cards
