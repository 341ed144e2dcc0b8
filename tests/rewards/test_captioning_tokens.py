"""PTB tokens: what the Java tokenizer makes of a caption, rule by rule, and the jar itself where there is one."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auscult.rewards.captioning import tokens
from auscult.rewards.captioning.tokens import PUNCTUATION, tokenize

CASES = (
    ("A dog barks, and a man speaks.", "a dog barks and a man speaks"),
    ("a man's dog isn't barking; the dogs' bowls are empty", "a man 's dog is n't barking the dogs bowls are empty"),
    (
        "they're here, I'm there, we've gone, she'll stay, he'd go",
        "they 're here i 'm there we 've gone she 'll stay he 'd go",
    ),
    ("I can't, won't and don't", "i ca n't wo n't and do n't"),
    (
        "he cannot stay and they're gonna gotta wanna gimme lemme",
        "he can not stay and they 're gon na got ta wan na gim me lem me",
    ),
    ("'Twas late, 'tis early", "'t was late 't is early"),
    ("rock 'n' roll at five o'clock", "rock 'n' roll at five o'clock"),
    ("it is 10:30 p.m. in the U.S. and cold", "it is 10:30 p.m. in the u.s. and cold"),
    ("Mr. Smith and Dr. Jones vs. Mrs. Brown, etc.", "mr. smith and dr. jones vs. mrs. brown etc."),
    ("at 3 a.m. a bell rings", "at 3 a.m. a bell rings"),
    ("It is plan B. The alarm rings", "it is plan b the alarm rings"),
    ("It is plan B. the alarm rings", "it is plan b. the alarm rings"),
    ("the U.S. The end", "the u.s. the end"),
    ("see fig. 3 and no. 5, but no. not that", "see fig. 3 and no. 5 but no not that"),
    ("She works at Acme Inc. The door shuts", "she works at acme inc. the door shuts"),
    (
        "a high-pitched, co-ed re-run (twice) [loudly] {softly}",
        "a high-pitched co-ed re-run -lrb- twice -rrb- -lsb- loudly -rsb- -lcb- softly -rcb-",
    ),
    ("\"hello\" he said, ``quoted'' and 'single' too", "hello he said quoted and single too"),
    ("“curly” and ‘single’ and «guillemets»", "curly and single and guillemets"),
    ("it’s 5 o’clock", "it 's 5 o’clock"),
    ("wait... what?! no!! really? yes!", "wait what ?! no !! really yes"),
    ("a dog -- no, a cat - barks --- then ---- stops -----", "a dog no a cat barks then stops -----"),
    ("an en–dash and an em—dash", "an en dash and an em dash"),
    ("$5.00, €10, £3, 50¢ and ¥100", "$ 5.00 $ 10 # 3 50 cents and ¥ 100"),
    ("50% of 1,000 is 500, +3 -4 .5 1.5", "50 % of 1,000 is 500 +3 -4 .5 1.5"),
    ("1/2 cup, 1 1/2 cups and ½ cup", "1/2 cup 1\xa01/2 cups and 1/2 cup"),
    ("call 555-123-4567 or (555) 123-4567", "call 555-123-4567 or -lrb-555-rrb-\xa0123-4567"),
    ("on 12/31/2020 at 12-31-20", "on 12/31/2020 at 12-31-20"),
    ("a 1st 2nd 50dB 5kHz X2 tone", "a 1st 2nd 50db 5khz x2 tone"),
    ("and/or w/o he/she c/o", "and/or w/o he/she c/o"),
    ("AT&T, R&B &amp; rock &lt;loud&gt; &quot;yes&quot;&nbsp;now", "at&t r&b & rock < loud > yes now"),
    ("C++ and C# and F#", "c++ and c# and f#"),
    (
        "visit http://example.com/a_b?c=d. or www.example.com, example.com!",
        "visit http://example.com/a_b?c=d or www.example.com example.com",
    ),
    ("mail me@example.com or @handle about #birds", "mail me@example.com or @handle about #birds"),
    ("song.mp3, noise_01.wav and 3.wav.", "song.mp3 noise_01 wav and 3.wav"),
    ("a happy :) dog ;-) =D and a ^_^ face", "a happy :-rrb- dog ;--rrb- =d and a ^_^ face"),
    ("<b>bold</b> and <br/> and <img src='a b'>", "<b> bold </b> and <br/> and <img\xa0src='a\xa0b'>"),
    (
        "* star ** stars # hash ## _ under __ / slash \\ back | pipe ~ tilde ^ caret = eq ==",
        "* star ** stars # hash ## _ under __ / slash \\ back | pipe ~ tilde ^ caret = eq = =",
    ),
    ("café naïve über &eacute;t&eacute; 日本語 привет", "café naïve über &eacute;t&eacute; 日本語 привет"),
    ("10°C × 3 → 4 · 5 • 6 ™ ® ©", "10 ° c × 3 → 4 · 5 • 6 ™ ® ©"),
    ("smile 😀 now", "smile now"),
    ("soft\xadhyphen and zero\u200bwidth", "softhyphen and zero width"),
    ("y'all c'mon cap'n ol' 'em 'cause 'til '90s '99 model", "y' all c'mon cap'n ol' 'em 'cause 'til '90s '99 model"),
    ("d'Avignon l'eau O'Brien qu'il N'Djamena", "d'avignon l'eau o'brien qu'il n'djamena"),
    ("A.B.C. and a.b. and a.k.a. Bob", "a.b.c. and a.b. and a.k.a. bob"),
    ("non-U.S. forces, anti-U.S. and U.S.-U.K. ties", "non-u.s. forces anti-u.s. and u.s.-u.k. ties"),
    ("(A) first; (b) second: [c]", "-lrb- a -rrb- first -lrb- b -rrb- second -lsb- c -rsb-"),
    ("snake_case and kebab-case_mix", "snake_case and kebab-case_mix"),
    ("aaa,bbb-ccc and a.b.c", "aaa,bbb-ccc and a.b.c"),
    ("one!two?three.four", "one!two?three.four"),
    ("ends with dogs.,then", "ends with dogs. then"),
    ("  leading and   trailing   ", "leading and trailing"),
    ("MAN SPEAKS LOUDLY", "man speaks loudly"),
    ("whirring/buzzing/humming", "whirring/buzzing/humming"),
    ("\"'nested' quotes\"", "nested quotes"),
    ("12,345.67 and 12.34.56 and 1:2:3", "12,345.67 and 12.34.56 and 1:2:3"),
    ("it's, dog's: 's", "it 's dog 's 's"),
    ("no-one's don'ts", "no-one 's do n'ts"),
    ("x-ray's 2 x 4's", "x-ray 's 2 x 4 's"),
    ("...", ""),
    ("--", ""),
    ("'", ""),
)
"""A caption and its tokens, as PTBTokenizer 3.4.1 gives them."""
_PIECES = """
    a The dog it's don't cannot gonna Mr. U.S. etc. no. 3 10:30 1,000 -5 1/2 $5 € ½ 90s 2nd high-pitched and/or w/o 'n'
    'em o'clock y'all ( ) [ ] { } ... .. -- - — _ * ** & &amp; < > <br> :) ^_^ " '' ` “ ” ‘ ’ , . ; : ? ! ?! # @ % + = /
    \\ | ~ ° × café 日本 привет 😀 AT&T c++ e.g. a.m. B. foo.com me@x.com x.mp3 555-1234 12/31/2020
"""
PIECES = _PIECES.split()
SEPARATORS = ("", "", " ", " ", " ", "  ", ".", ", ", "'", "-", "'s ")


@pytest.mark.parametrize(("caption", "expected"), CASES)
def test_a_caption_is_cut_as_the_java_tokenizer_cuts_it(caption: str, expected: str) -> None:
    assert " ".join(tokenize(caption)) == expected


def test_three_rules_look_at_the_next_line() -> None:
    assert tokenize("It is plan B.")[-1] == "b."
    assert tokenize("It is plan B.", "\nThe end")[-1] == "b"
    assert tokenize("not that no.", "\n3 dogs")[-1] == "no."
    assert tokenize("not that no.", "\nthree dogs")[-1] == "no"


anything = st.text() | st.lists(st.sampled_from([*PIECES, *SEPARATORS]), max_size=12).map("".join)


@given(anything)
def test_any_text_has_tokens(text: str) -> None:
    found = tokenize(text)
    assert PUNCTUATION.isdisjoint(found)
    assert all(token and " " not in token and token == token.lower() for token in found)


@given(anything)
@settings(max_examples=200)
def test_plain_words_are_what_the_rules_would_give(text: str) -> None:
    """Fails when a rule reaches beyond a word that was taken without asking it."""
    quick = tokenize(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokens, "_PLAIN", re.compile(r"(?!)"))
        assert tokenize(text) == quick


def jar() -> Path | None:
    """The tokenizer of pycocoevalcap, where it and Java are."""
    spec = find_spec("pycocoevalcap")
    folders = [Path(folder) / "tokenizer" for folder in (spec.submodule_search_locations or [])] if spec else []
    places = [
        Path(os.environ.get("AUSCULT_PTB_JAR", "")),
        *(folder / "stanford-corenlp-3.4.1.jar" for folder in folders),
    ]
    return next((place for place in places if place.is_file()), None) if shutil.which("java") else None


def java(place: Path, folder: Path, captions: list[str]) -> list[tuple[str, ...]]:
    """What pycocoevalcap makes of the captions, a line each."""
    (folder / "captions").write_text("\n".join(captions), encoding="utf-8")
    command = ["java", "-Dfile.encoding=UTF-8", "-cp", str(place), "edu.stanford.nlp.process.PTBTokenizer"]
    command += ["-preserveLines", "-lowerCase", str(folder / "captions")]
    said = subprocess.run(command, capture_output=True, check=True).stdout.decode()
    lines = said.split("\n")
    assert len(lines) == len(captions)
    return [tuple(word for word in line.rstrip().split(" ") if word and word not in PUNCTUATION) for line in lines]


def test_the_jar_agrees(testdata: Path, tmp_path: Path) -> None:
    place = jar()
    if place is None:
        pytest.skip("no Java, or no stanford-corenlp-3.4.1.jar: name it in AUSCULT_PTB_JAR (pycocoevalcap has it)")
    captions = [caption for caption, _ in CASES]
    for name in ("text/audiocaps_val.csv", "captions/aac_example_1.csv"):
        with (testdata / name).open(newline="", encoding="utf-8") as file:
            captions += [cell for row in csv.reader(file) for cell in row]
    draw = Random(0)
    for _ in range(4000):
        parts = draw.choices(PIECES, k=draw.randrange(1, 9))
        captions.append("".join(part + draw.choice(SEPARATORS) for part in parts))
    expected = java(place, tmp_path, captions)
    after = [*(f"\n{caption}" for caption in captions[1:]), ""]
    found = [tokenize(caption, text) for caption, text in zip(captions, after, strict=True)]
    assert found == expected
