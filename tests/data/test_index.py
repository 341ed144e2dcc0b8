"""The index of a large file finds every row where JSON says it is, is the file's own, and opens without reading it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auscult.core.errors import DataError
from auscult.data import index
from auscult.data.index import Facts, Index, Unusable, Window, open_index, spans

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ['"}],{', "\\", '\\"', "\u2028", "é{", "𝄞]", '"a": {', "\x7f"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
ROWS = st.dictionaries(TEXT, st.fixed_dictionaries({"q": TEXT}, optional={"more": VALUES}), min_size=1, max_size=6)


def described(where: str, name: str, row: Any) -> Facts:
    """Rows `{"q": question, "a": answer, "g": group, "f": [files], "bad": why}`."""
    if row.get("bad"):
        raise Unusable(f"{where}: {row['bad']}", reason=row["bad"])
    return Facts(
        row.get("id", name), row.get("g", name), row.get("t", ""), row["q"], row.get("a", ""), tuple(row.get("f", ()))
    )


def opened(path: Path, **options: Any) -> Index:
    return open_index(path, described, **options)


@given(
    rows=ROWS, kind=st.sampled_from(["object", "list", "lines"]), indent=st.sampled_from([None, 0, 3]), data=st.data()
)
def test_rows_of_any_json_are_found_where_they_stand(
    tmp_path_factory: pytest.TempPathFactory, rows: dict[str, Any], kind: str, indent: int | None, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows.json"
    ascii_only = data.draw(st.booleans())
    if kind == "lines":
        text = "\n".join(json.dumps(row, ensure_ascii=ascii_only) for row in rows.values())
    else:
        value = rows if kind == "object" else list(rows.values())
        text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    path.write_text(data.draw(st.sampled_from(["", "\ufeff", "  \n"])) + text + data.draw(st.sampled_from(["", "\n "])))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "CHUNK", data.draw(st.integers(1, 40)))
        found = opened(path)
    assert [found[number][2] for number in range(len(found))] == list(rows.values())
    assert found.kind == kind
    if kind == "object":
        assert [found[number][1] for number in range(len(found))] == list(rows)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": {"q": "x"}', "no `,`"),
        ('{"a": {"q": "x"}} ]', "something behind its end"),
        ('[{"q": "x"}, {"q": "y', r"no valid JSON \(Unterminated string.*at byte 13;"),
        ('[{"q": NaN}]', "NaN is no JSON number"),
        ('{"a": {"q": "x", "q": "y"}}', "`q` occurs twice"),
        ('{"a": {"q": "x"}, 3: {}}', "a key that is no text"),
        ("rows", "neither an object nor a list"),
        ("", "neither an object nor a list"),
        ("[]", "no rows; write an object"),
        ('[{"q": "x", "id": "1"}, {"q": "y", "id": "1"}]', r"1 ids occur twice, first: .*\[1\] has that of .*\[0\]"),
    ],
)
def test_what_is_no_file_of_rows_is_refused_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "rows.json").write_text(text)
    with pytest.raises(DataError, match=said):
        opened(tmp_path / "rows.json")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_bytes(b'[{"q": "\xff"}]')
    with pytest.raises(DataError, match="no text in UTF-8"):
        opened(tmp_path / "rows.json")
    with pytest.raises(DataError, match=r"gone\.json: cannot be read"):
        opened(tmp_path / "gone.json")


def test_unusable_rows_are_counted_by_reason_and_refused_past_a_share(tmp_path: Path) -> None:
    rows = {f"r{n}": {"q": str(n), **({"bad": "torn" if n % 2 else "odd"} if n < 3 else {})} for n in range(10)}
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows))
    with pytest.raises(DataError, match=r"3 of 10 rows cannot be used \(odd 2, torn 1\), first: .*\['r0'\]: odd"):
        opened(path, max_unusable=0.2)
    found = opened(path, max_unusable=0.3)
    assert (len(found), found.unusable, found[0][1]) == (7, {"odd": 2, "torn": 1}, "r3")


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file whose index is kept beside it."""
    monkeypatch.setattr(index, "SMALL", 0)
    rows = {
        f"r{n}": {"q": f"{n % 4}é", "a": str(n % 8), "g": f"g{n // 2}", "t": "ab"[n % 2], "f": [f"{n}.png"]}
        for n in range(12)
    }
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows, ensure_ascii=False))
    return path


def test_a_kept_index_is_opened_without_going_through_the_file(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = opened(kept)
    assert sorted(os.listdir(kept.parent)) == [".rows.json.index.lock", "rows.json", "rows.json.index"]
    monkeypatch.setattr(index, "spans", lambda window: pytest.fail("the file was gone through"))
    again = opened(kept)
    assert (again.groups, again.labels, again.kind) == (made.groups, made.labels, made.kind)
    assert all(np.array_equal(again.columns[name], made.columns[name]) for name in index.COLUMNS)
    assert again[7] == (f"{kept}['r7']", "r7", {"q": "3é", "a": "7", "g": "g3", "t": "b", "f": ["7.png"]})
    os.utime(kept, ns=(0, 0))
    assert len(opened(kept)) == 12, "only touched: its hash is the same"


def test_a_changed_file_or_another_key_or_a_damaged_index_is_gone_through_again(kept: Path) -> None:
    before = opened(kept)
    status = kept.stat()
    kept.write_text(kept.read_text().replace('"r7"', '"z7"'))
    os.utime(kept, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert opened(kept)[7][1] == "z7"
    kept.write_text(kept.read_text().replace('"g3"', '"h3"'))
    os.utime(kept, ns=(status.st_atime_ns, status.st_mtime_ns + 2))
    assert "h3" in opened(kept).groups
    kept.write_text("[]" + " " * status.st_size)
    with pytest.raises(DataError, match=r"row 7 cannot be read \(it was changed after it was opened\); open it again"):
        before[7]
    kept.write_text('[{"q": "x"}]')
    (kept.parent / "rows.json.index" / "about.json").write_text("{")
    assert len(opened(kept)) == 1
    told = json.loads((kept.parent / "rows.json.index" / "about.json").read_text())
    opened(kept, key="other")
    assert json.loads((kept.parent / "rows.json.index" / "about.json").read_text()) == {**told, "key": "other"}


def test_an_index_that_cannot_be_kept_says_where_to_put_it(kept: Path) -> None:
    (kept.parent / "file").touch()
    with pytest.raises(DataError, match=r"name a folder for the index \(--data.index\)"):
        opened(kept, folder=kept.parent / "file" / "index")


@pytest.mark.parametrize("kind", ["list", "lines", "csv"])
def test_rows_keep_their_number_when_others_are_left_out(tmp_path: Path, kind: str) -> None:
    rows = [{"q": "a", "bad": "no_answer"}, {"q": "b", "bad": ""}, {"q": "b", "bad": ""}]
    path = tmp_path / f"rows.{'csv' if kind == 'csv' else 'json'}"
    lines = "\n".join(map(json.dumps, rows))
    path.write_text({"list": json.dumps(rows), "lines": lines, "csv": "q,bad\na,no_answer\nb,\nb,\n"}[kind])
    found, whole = opened(path, max_unusable=0.5), list(index.rows_in(path))
    assert [found[0], found[1]] == whole[1:]


def test_repeated_questions_and_files_of_rows(kept: Path) -> None:
    found = opened(kept)
    later, earlier = found.repeated()
    assert later.tolist() == list(range(4, 12))
    assert earlier.tolist() == [0, 1, 2, 3] * 2
    one, other = found.files(np.array([0, 2])), found.files(np.array([2, 5]))
    (common,) = np.intersect1d(one, other)
    assert found.naming(int(common), np.array([1, 2])) == 2


def test_a_number_at_the_edge_of_the_window_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "CHUNK", 1)
    (tmp_path / "rows.json").write_text("[123456, 7890]")
    assert [value for _, _, value in index.rows_in(tmp_path / "rows.json")] == [123456, 7890]


def test_a_window_is_no_larger_than_a_row_needs(tmp_path: Path) -> None:
    """Rows of 1 kB in a file of 20 MB: what is held at once stays near one chunk."""
    row = json.dumps({"q": "x" * 1000})
    path = tmp_path / "rows.json"
    path.write_text(f"[{','.join([row] * 20_000)}]")
    with path.open("rb") as file:
        window = Window(file, path)
        longest = max(len(window._text) for _ in spans(window))
    assert longest < 3 * index.CHUNK
