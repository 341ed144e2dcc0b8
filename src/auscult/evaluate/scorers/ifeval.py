"""`ifeval`: the reply keeps every verifiable instruction of its prompt, strictly (`evaluate.instructions`).

IFEval's prompt-level strict accuracy; the benchmark's `figures` add the loose one and both by instruction. As in
VoiceBench's evaluator the reply loses a turn mark (`<1>`) at its beginning and `<|user|>` at its end; unlike there,
also its thinking, which VoiceBench's models do not write.

Source: src/evaluator/ifeval.py of github.com/MatthewCYM/VoiceBench (5338154).
"""

from __future__ import annotations

from auscult.core.errors import DataError
from auscult.core.forms import form
from auscult.core.types import Sample
from auscult.evaluate.instructions import instructions_of, kept
from auscult.evaluate.verdict import Verdict

BEGINS = ("<1>", "<2>", "<3>")
ENDS = "<|user|>"


def ifeval(reply: str, item: Sample) -> Verdict:
    """Right when all instructions are kept; what was read is the reply to the letter."""
    if not item.answers or instructions_of(item.answers[0]) is None:
        raise DataError(f"sample {item.id} has no verifiable instructions; choose another rule")
    parsed = form("label").parse(_unmarked(reply), verbatim=True)
    try:
        correct = parsed.answer is not None and all(kept(item.answers[0], parsed.answer).strict)
    except DataError as problem:
        raise DataError(f"sample {item.id}: {problem}") from problem
    return Verdict(correct, parsed)


def _unmarked(reply: str) -> str:
    """The reply without the marks of turns that some models write."""
    if reply.startswith(BEGINS):
        reply = reply[3:].strip()
    return reply.removesuffix(ENDS).strip() if reply.endswith(ENDS) else reply
