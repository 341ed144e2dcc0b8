"""Balanced draws: a deck is dealt to its end before it is shuffled again.

Independent draws are balanced in the long run only: of 200 yes-or-no questions, 86 to 114 come out `yes` (95 %). A deal
holds every card equally often after each whole round, and is still a pure function of the position.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from auscult.core.seeds import rng

T = TypeVar("T")


def dealt(cards: Sequence[T], number: int, seed: int, *path: str | int) -> T:
    """Card `number` (from 0) of the endless deal at the address `path`: each round holds every card once."""
    turn, place = divmod(number, len(cards))
    return cards[int(rng(seed, *path, turn).permutation(len(cards))[place])]
