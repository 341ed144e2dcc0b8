"""A question file of more than a gigabyte: seconds and memory to index it, and to open it again.

The file is one JSON object of rows as ReXVQA has them: two views each, a report, six questions a patient; its images do
not exist, so none can be opened (`look` is off; how long a look takes is told for as many small PNG files as
`--images`). Each step runs in a process of its own, whose peak memory counts, imports included; files that it opened
are counted by the interpreter's audit hook.

    python benchmarks/questions.py [--rows 600000] [--images 2000]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from auscult.core.seeds import rng
from auscult.media.image import encode_png

WORDS = str.split(
    "the heart lungs are is of normal size clear no focal consolidation pleural effusion pneumothorax seen right left "
    "lower upper lobe opacity mediastinal contours unchanged since prior study small atelectasis at both bases"
)
STEP = """
import json, resource, sys, time
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
from auscult.data.sources.studies import Source
began, used = time.perf_counter(), time.process_time()
source = Source(root=sys.argv[1], look=False)
train, heldout = source.split("train", 0), source.split("heldout", 0)
seconds, cpu = time.perf_counter() - began, time.process_time() - used
began = time.perf_counter()
read = [train[n * 7919 % train.size] for n in range(1000)]
print(json.dumps({
    "rows": train.size + heldout.size, "seconds": round(seconds, 2), "cpu_seconds": round(cpu, 2),
    "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    "images_opened": sum(path.endswith(".png") for path in opened),
    "rows_read_per_s": round(len(read) / (time.perf_counter() - began)),
}))
"""


def texts(count: int, words: int) -> list[str]:
    """Sentences of these words."""
    draw = rng(0, "questions", words)
    return [
        " ".join(WORDS[place] for place in draw.integers(0, len(WORDS), words)).capitalize() + "." for _ in range(count)
    ]


def rows(count: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows like ReXVQA's, 2 kB each."""
    long, short = texts(997, 70), texts(991, 8)
    for number in range(count):
        study, patient = number // 3, number // 6
        yield (
            f"question-{number:07d}",
            {
                "question": f"Which finding does examination {number} show?",
                "options": [f"{letter}. {short[(number + 7 * place) % 991]}" for place, letter in enumerate("ABCD")],
                "correct_answer": "ABCD"[number % 4],
                "correct_answer_explanation": long[number % 997],
                "ImagePath": [f"images/{patient}/{study}/{view}.png" for view in ("front", "side")],
                "ImageViewPosition": ["PA", "LATERAL"],
                "Indication": short[number % 991],
                "Comparison": "None.",
                "Findings": long[(number + 5) % 997] + " " + long[(number + 11) % 997],
                "Impression": short[(number + 3) % 991],
                "PatientID": f"patient-{patient}",
                "study_id": f"study-{study}",
                "task_name": ("presence", "location", "negation")[number % 3],
                "category": "lungs",
            },
        )


def write(path: Path, count: int) -> int:
    """One JSON object, indented as such files are; its size in bytes."""
    with path.open("w", encoding="utf-8") as file:
        for number, (name, row) in enumerate(rows(count)):
            file.write(f"{',' if number else '{'}\n{json.dumps(name)}: {json.dumps(row, indent=2)}")
        file.write("\n}\n")
    return path.stat().st_size


def step(*arguments: str) -> dict[str, Any]:
    """What a process of its own prints."""
    return json.loads(subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True).stdout)


def look(folder: Path, count: int) -> dict[str, Any]:
    """Opening a set for the first time, the headers of its images included."""
    whole = encode_png(np.zeros((64, 64, 3), np.uint8))
    table = {}
    for number, (name, row) in enumerate(rows(count)):
        (folder / f"{number}.png").write_bytes(whole)
        table[name] = {**row, "ImagePath": [f"{number}.png"], "ImageViewPosition": []}
    (folder / "small.json").write_text(json.dumps(table))
    told = step("-c", STEP.replace("look=False", "look=True"), str(folder / "small.json"))
    return {"images": count, "images_opened": told["images_opened"], "seconds": told["seconds"]}


def main() -> None:
    parser = argparse.ArgumentParser(description="a question file of more than a gigabyte, indexed and opened")
    parser.add_argument("--rows", type=int, default=600_000, help="rows of the file (default: 600000)")
    parser.add_argument("--images", type=int, default=2000, help="images to look at (default: 2000)")
    options = parser.parse_args()
    with TemporaryDirectory() as name:
        path = Path(name) / "train_vqa_data.json"
        size = write(path, options.rows)
        indexed, opened = step("-c", STEP, str(path)), step("-c", STEP, str(path))
        kept = sum(file.stat().st_size for file in Path(f"{path}.index").iterdir())
        told = {"file_mb": size // 10**6, "index_mb": kept // 10**6, "index": indexed, "open": opened}
        print(json.dumps({"benchmark": "questions", **told, "look": look(Path(name), options.images)}))


if __name__ == "__main__":
    main()
