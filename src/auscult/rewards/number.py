"""Whether the answer is the right number: 1.0 or 0.0.

The whole answer must be one number and perhaps a unit ("1,250 Hz", "-3.5", "1e-3", "40%"). A list, a range or a
fraction is no number, so guessing several at once earns nothing. Letter case matters in units: mW is not MW. Decimal
arithmetic, so that a tolerance of 0.2 takes in 0.6 for 0.8.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

from auscult.core.answer import clean
from auscult.core.types import Rollout, Sample

# At most three digits of exponent: Decimal would spend its precision on 1e999999999.
_NUMBER = re.compile(
    r"([-+]?)((?:[0-9]{1,3}(?:,[0-9]{3}){1,9}|[0-9]{1,30})(?:\.[0-9]{1,30})?|\.[0-9]{1,30})([eE][-+]?[0-9]{1,3})?"
    r"\s*((?:(?:[%°$€£]|[^\W\d_])(?:\D|(?<=\^)\d)*)?)"  # a unit such as dB, °C or m^2
)


def number(
    sample: Sample, rollout: Rollout, *, tolerance: float = 0.0, relative: float = 0.0, units: Sequence[str] = ()
) -> float | None:
    """1.0 when the answer is within `tolerance` + `relative` x |gold| of an accepted number, else 0.0.

    A unit may be left out. If the answer has one, it must be the accepted answer's or one of `units`; nothing is
    converted.
    None when no accepted answer is a number.
    """
    accepted = [read for answer in sample.answers if (read := _read(answer)) is not None]
    if not accepted:
        return None
    answer = _read(rollout.parsed.answer or "")
    if answer is None:
        return 0.0
    value, unit = answer
    known = {"", *units}
    return float(
        any(
            abs(value - gold) <= Decimal(str(tolerance)) + Decimal(str(relative)) * abs(gold)
            for gold, gold_unit in accepted
            if unit in known | {gold_unit}
        )
    )


def _read(text: str) -> tuple[Decimal, str] | None:
    """The number that the whole text is, and its unit; None when it is no number."""
    read = _NUMBER.fullmatch(clean(text).replace("\N{MINUS SIGN}", "-"))
    if read is None:
        return None
    return Decimal(f"{read[1]}{read[2].replace(',', '')}{read[3] or ''}"), read[4].strip()
