"""The commands, one file each; its `run(command, arguments)` does what was asked and returns the exit code.

A file loads fast, because `auscult --help` must not wait for torch: what it needs it imports when it runs. What they
share is in `arguments` (parsing, --help), `recipes` (a recipe by name, file or run folder) and `output`."""

from __future__ import annotations

COMMANDS = {
    "run": "run a recipe: train, evaluate, report",
    "sft": "run only the supervised stage of a recipe",
    "rest": "run only the self-training stage of a recipe: sample, filter, imitate, keep or roll back",
    "grpo": "run only the reinforcement stage of a recipe",
    "pretrain": "train an encoder on recordings or frames alone, by masked autoencoding",
    "probe": "what an encoder knows: a linear layer and the nearest neighbours on its vectors",
    "eval": "evaluate a model on a benchmark, or on a recipe's held-out samples",
    "ask": "ask a saved model, or a server, about your own films and recordings",
    "export": "write a saved model as a plain checkpoint, its adapter merged into its weights",
    "score": "score somebody's predictions on a benchmark by its official rule, by all rules, or by a judge",
    "compare": "compare runs row by row: paired intervals, tests, which rows differ",
    "errors": "break errors down by any label, worst first",
    "submit": "check predictions and write them as a benchmark wants them sent",
    "captions": "df FILE: write the document frequencies that the CIDEr-D reward needs",
    "rewards": "audit RECIPE: try to cheat its rewards and say what pays",
    "data": "check FILE: what is there, what is wrong and why; leaks FILE: what is in a benchmark; frames; audioset",
    "report": "write the page of a run folder again and print its table",
    "list": "what there is: recipes, data formats, models, algorithms, rewards, benchmarks, scorers, forms",
    "doctor": "what this machine can do, and what is missing",
}
"""What each command does, in the order of `auscult --help`."""


def file_of(command: str) -> str:
    """The file in this folder that has the command: a stage of a recipe is a part of a run."""
    return "run" if command in ("sft", "rest", "grpo") else command
