r"""PTB tokens: captions cut as the COCO caption evaluation cuts them, without its Java.

pycocoevalcap runs Stanford's PTBTokenizer (CoreNLP 3.4.1, `-preserveLines -lowerCase`) and drops punctuation; published
BLEU, ROUGE-L, METEOR and CIDEr-D of captions are on these tokens. Some of what that means:

    isn't, dog's        is n't, dog 's          U.S., Mr., etc.     keep their dots
    cannot, gonna       can not, gon na         10:30, 1,000, -5    one token
    high-pitched, w/o   one token               ( ) [ ] { }         -lrb- -rrb- -lsb- ...: they stay, in lower case
    "  '  `  .  ,  -    dropped                 !!  ?!  *  /  &     stay

How it works: a lexer. At each place every rule is tried and the longest match wins, what it looks ahead at included;
of equally long ones the rule further up. Words of plain letters, which captions mostly consist of, are taken without
trying the rules: none of them can give anything else.

The rules follow the specification of that lexer and were tried against its jar: equal on every line of the shared test
data and on hundreds of thousands of random ones. What is left differs by the age of the Unicode tables (some 600
characters of young scripts, which the jar drops) and by a U+00A0 after an address at the end of a line.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

TOKENIZER = "ptb-3.4.1"
"""Name and version of these tokens, written into whatever is computed from them."""
PUNCTUATION = frozenset(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"])
"""What is dropped. The official list has the brackets too, but in capitals, and tokens are in lower case by then."""


def tokenize(caption: str, after: str = "\n") -> tuple[str, ...]:
    """The tokens of one caption, in lower case. A telephone number or mixed fraction has U+00A0 for its blanks.

    `after` is what stands behind the caption in a file: few rules look there (a last "B." is "b" before a line that
    begins with "The"). The official pipeline reads all captions of an evaluation as one file, a line each.
    """
    text = _BREAKS.sub(" ", caption)
    end, text = len(text), text + after
    found: list[str] = []
    place = 0
    rules: tuple[_Rule, ...] = ()
    while place < end:
        plain = _PLAIN.match(text, place)
        if plain and (word := plain[1].lower()) not in _CUT:
            found.append(word)
            place = plain.end()
            continue
        if text[place] == " ":  # then it is no part of a token, and nor are the blanks behind it
            while place < end and text[place] in _BLANKS:
                place += 1
            continue
        rules = rules or _rules_for(_signs(text))
        token, place = _longest(rules, text, place)
        if token:
            found.append(token)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Rule:
    """One kind of token."""

    pattern: re.Pattern[str]
    """Group 1 is the token, the rest is looked ahead at."""
    written: Callable[[str], str]
    """How the token is written; empty when it is none."""


def _longest(rules: Sequence[_Rule], text: str, place: int) -> tuple[str, int]:
    """The token at a place, empty when nothing is kept, and where it ends."""
    best, winner = None, None
    reached = place
    for rule in rules:
        match = rule.pattern.match(text, place)
        if match and match.end() > reached:
            best, winner, reached = match, rule, match.end()
    if best is None or winner is None:
        return "", place + 1  # a sign that no rule knows
    token = winner.written(best[1]).lower()
    return ("" if token in PUNCTUATION else token), best.end(1)


def _signs(text: str) -> frozenset[str]:
    """What occurs in a text besides letters and blanks."""
    return frozenset(
        _DIGIT if "0" <= sign <= "9" else sign if sign.isascii() else _FOREIGN for sign in _SIGN.findall(text)
    )


@lru_cache(maxsize=512)
def _rules_for(signs: frozenset[str]) -> tuple[_Rule, ...]:
    """The rules that can match in a text with these signs, in their order."""
    return tuple(
        _Rule(re.compile(pattern), written)
        for pattern, needs, written in _TABLE
        if not needs or not signs.isdisjoint(needs)
    )


# How tokens are written.


def _kept(token: str) -> str:
    return token


def _dropped(token: str) -> str:
    return ""


def _unhyphenated(token: str) -> str:
    """Without soft hyphens, unless nothing else is left."""
    return token.replace("\u00ad", "") or "-"


def _unbroken(token: str) -> str:
    return token.replace(" ", "\u00a0")


def _bracketed(token: str) -> str:
    return _unbroken(token).replace("(", "-LRB-").replace(")", "-RRB-")


def _ampersand(token: str) -> str:
    return _AMPERSAND.sub("&", token)


def _straight(token: str) -> str:
    """A closing or single quote as LaTeX has it."""
    return _QUOTE.sub(lambda sign: _LATEX[sign[0].lower()], token)


def _initial(token: str) -> str:
    """What might be an abbreviation, in front of what begins a sentence: "U.S." keeps its dot, "I." does not."""
    return token[0] if len(token) == 2 else token


def _currency(token: str) -> str:
    return token.translate(_MONEY)


def _fraction(token: str) -> str:
    return token.translate(_FRACTIONS)


def _dash(token: str) -> str:
    return token if len(token) > 4 else ""


_BRACKETS = {"(": "-LRB-", ")": "-RRB-", "{": "-LCB-", "}": "-RCB-", "[": "-LSB-", "]": "-RSB-"}
_AMPERSAND = re.compile("(?ai:&amp;)")
_LATEX = {
    **dict.fromkeys(["'", "&apos;", "\x92", "’", "›"], "'"),
    **dict.fromkeys(["\x91", "‘", "‛", "‹"], "`"),
    **dict.fromkeys(['"', "&quot;", "\x94", "”", "»"], "''"),
    **dict.fromkeys(["\x93", "“", "«"], "``"),
}
_QUOTE = re.compile("|".join(f"(?ai:{sign})" for sign in _LATEX))
_MONEY = str.maketrans({"¢": "cents", "£": "#", "\x80": "$", "¤": "$", "₠": "$", "€": "$"})
_FRACTIONS = str.maketrans({"¼": "1/4", "½": "1/2", "¾": "3/4", "⅓": "1/3", "⅔": "2/3"})

# What tokens consist of. (?ai:...) is what may be written in either case; classes are meant in the case they have.


def _letters() -> str:
    """The letters of the Basic Multilingual Plane as the inside of a character class."""
    return _class(lambda code, kind: kind[0] == "L")


def _marks() -> str:
    """What else may stand in a word: soft hyphens, and accents and vowel signs of the scripts that the jar knows."""
    known = [range(first, last + 1) for first, last in _SCRIPTS]
    return _class(lambda code, kind: code == 0xAD or (kind in ("Mn", "Mc", "Sk") and any(code in one for one in known)))


def _class(belongs: Callable[[int, str], bool]) -> str:
    """The code points that belong, given with their categories, as ranges."""
    members = [code for code in range(0x41, 0x10000) if belongs(code, unicodedata.category(chr(code)))]
    starts = [code for code, before in zip(members, [-1, *members], strict=False) if code != before + 1]
    ends = [code for code, after in zip(members, [*members[1:], -1], strict=True) if code != after - 1]
    return "".join(f"{chr(start)}-{chr(end)}" for start, end in zip(starts, ends, strict=True))


def _words(names: str = "", capital: str = "") -> str:
    """Any of these words, in either case; those of `capital` with a capital letter."""
    loose = [f"(?ai:{'|'.join(names.split())})"] if names else []
    return "|".join([*loose, *(f"{name[0]}(?ai:{name[1:]})" for name in capital.split())])


_BREAKS = re.compile("[\r\n\u2028\u2029\x0b\x0c]")
_PLAIN = re.compile(r" *([A-Za-z]+),?(?=[ \n]|\Z)")
_BLANKS = " \t\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u3000"
_SIGN = re.compile("[^A-Za-z ]")
_DIGIT, _FOREIGN = "0", "é"
"""What stands for any digit, and for any sign beyond ASCII, among the signs of a text."""
_CUT = {
    "cannot": ("can", "not"),
    "gonna": ("gon", "na"),
    "gotta": ("got", "ta"),
    "lemme": ("lem", "me"),
    "gimme": ("gim", "me"),
    "wanna": ("wan", "na"),
}
_SCRIPTS = ((0x2C2, 0xA4F), (0xA81, 0xACF), (0xB82, 0xBCD), (0xC01, 0xC56), (0xD3E, 0xD48), (0xE31, 0xECD))
_ABC, _MARKS = _letters(), _marks()
_ACCENTED = "&[aeiouAEIOU](?ai:acute|grave|uml);"
_LETTER = rf"(?:[{_ABC}{_MARKS}]|{_ACCENTED})"
_REST = rf"(?:[{_ABC}{_MARKS}\d]++|{_ACCENTED})*+"
_WORD = rf"{_LETTER}{_REST}(?:[.!?]{_LETTER}{_REST})*+"
_BLANK = f"[{_BLANKS}]"
_SPACE = rf"(?:{_BLANK}|[\r\n\u2028\u2029\x0b\x0c\x85])"
_APOSTROPHE = "(?:['\x92’]|(?ai:&apos;))"
_TICK = "(?:['`\x91\x92‘’‛]|(?ai:&apos;))"
_CLITIC = rf"{_APOSTROPHE}(?:[msdMSD]|(?ai:re|ve|ll))"
_NOT = rf"(?ai:n){_TICK}(?ai:t)"
_NUMBER = r"[-+]?(?:\d*(?:[.:,\u00ad\u066b\u066c]\d+)+|\d+)"
_SENTENCE_END = r"[?!]+|[.¡¿\u037e\u0589\u061f\u06d4\u0700-\u0702\u07fa\u3002]"
_IN_SENTENCE = "[,;:\u3001]"
_NAME = "[A-Za-z][A-Za-z0-9_:.-]*"
_ATTRIBUTE = rf"""{_NAME}(?: *= *(?:'[^']*'|"[^"]*"))?"""
_TAG = rf"<(?:[!?][A-Za-z-][^>\r\n]*|/{_NAME}|{_NAME}(?: +{_ATTRIBUTE})* */?) *>"
_STATES = "(?:Canada|Sino|Korean|EU|Japan|non)-U[.]S|U[.]S[.]-(?:U[.]K|U[.]S[.]S[.]R)"
_ACRONYM = rf"(?:(?ai:{_STATES})|[A-Za-z](?:\.[A-Za-z])*)"
_ACRONYM_OF_TWO = rf"(?:(?ai:{_STATES})|[A-Za-z](?:\.[A-Za-z])+)"
_COMPOUND = rf"[A-Za-z0-9][A-Za-z0-9.,\u00ad]*(?:-(?:{_ACRONYM_OF_TWO}\.|[A-Za-z0-9\u00ad]+))+"
_PREFIXED = rf"(?:[dDoOlL]{_TICK}[{_ABC}\d])?[{_ABC}\d]+"
_THING = rf"{_PREFIXED}(?:[-_\u058a\u2010\u2011]{_PREFIXED})*"
_CAPITALS = "[A-Z]+(?:(?:(?ai:&amp;)|[+&])[A-Z]+)+"
_ABBREVIATION = _words(
    "Jan Feb Mar Apr Jun Jul Aug Sept? Oct Nov Dec Mon Tues? Wed Thu Thurs Fri Inc Cos? Corp Pp?t[ye]s? Ltd Plc Rt "
    "Bancorp Bhd Assn Univ Intl Sys tel est ext sq Jr Sr Bros (?:Ed|Ph)[.]D Blvd Rd Esq etc al seq Bldg Ala Ariz Calif "
    "Colo Conn Ct Dak Fla Ga Ind Kans? Ky Md Mich Minn Mo Mont Neb Nev Okla Penn Tenn Va Vt Wisc? Wyo",
    capital="Az Ark Del Ill La Mass Miss Ore Pa Tex Wash",
)
_TITLE = _words(
    "Mr Mrs Ms Drs? Profs? Sens? Reps? Attys? Lt Col Gen Messrs Govs? Adm Rev Maj Sgt Cpl Pvt Capt Ste? Ave Pres "
    "Lieut Hon Brig Co?mdr Pfc Spc Supts? Det Mt Ft Adj Adv Asst Assoc Ens Insp Mlle Mme Msgr Sfc vs Alex Wm Jos Cie "
    "cf TREAS Ph a[.]k[.]a Invt Elec Natl M[ft]g Dept",
    capital="Miss",
)
_OPENER = _words(
    capital="A About According Additionally After An As At But Earlier He Her Here However If In It Last Many More "
    "Mr[.] Ms[.] Now Once One Other Our She Since So Some Such That The Their Then There These They This We When While "
    "What Yet You"
)
_BEFORE_NUMBER = "ca|figs?|prop|nos?|art|bldg|pp|op"
_APOSTROPHIZED = (
    rf"{_APOSTROPHE}(?ai:n){_APOSTROPHE}?",
    rf"[lLdDjJ]{_APOSTROPHE}",
    rf"(?ai:Dunkin|somethin|ol){_APOSTROPHE}",
    rf"{_APOSTROPHE}(?:(?ai:em|till?|cause)|[2-9]0(?ai:s))",
    rf"[A-HJ-XZn]{_TICK}[{_ABC}]{{2,}}",
    rf"[{_ABC}]+[aeiouyAEIOUY]{_TICK}[aeiouA-Z][{_ABC}]*",
    rf"(?ai:cont'd[.]?|'twas|nor'easter|c'mon|e'er|s'mores|ev'ry|li'l|nat'l|O{_TICK}o)",
    rf"(?ai:Cap{_APOSTROPHE}n|c{_APOSTROPHE}est)",
)
_PHONE = (
    r"(?:\([0-9]{2,3}\)[ \u00a0]?|(?:\+\+?)?(?:[0-9]{2,4}[- \u00a0])?[0-9]{2,4}[- \u00a0])"
    r"[0-9]{3,4}[- \u00a0]?[0-9]{3,5}"
)
_DOTTED_PHONE = r"(?:(?:\+\+?)?[0-9]{2,4}\.)?[0-9]{2,4}\.[0-9]{3,4}\.[0-9]{3,5}"
_PATH = r"""(?:/[^ \t\n\f\r"<>|()]+[^ \t\n\f\r"<>|.!?(){},-])?"""
_EMAIL = (
    r"""(?:(?ai:&lt;)|<)?[a-zA-Z0-9][^ \t\n\f\r"<>|()\u00a0{}]*@"""
    r"""(?:[^ \t\n\f\r"<>|(){}.\u00a0]+\.)*[^ \t\n\f\r"<>|(){}.\u00a0]+(?:(?ai:&gt;)|>)?"""
)
_FILE = (
    "bat|bmp|c|class|cgi|cpp|dll|doc|docx|exe|gif|gz|h|htm|html|jar|java|jpeg|jpg|mov|mp3|pdf|php|pl|png|ppt|ps|py|sql|"
    "tar|txt|wav|x|xml|zip"
)
_FACE = r"[<>]?[:;=][-o*']?[()DPdpO\\{@|\[\]]"
_EASTERN_FACE = r"[-^x=~<>']_[-^x=~<>']|\([-^x=~<>'][_.]?[-^x=~<>']\)|\([\^x=~<>']-[\^x=~<>'`]\)"
_SYMBOL = (
    r"[+%&~^|\\¦§¨©¬®¯°-³´-º×÷\u0387\u05be\u05c0\u05c3\u05c6\u05f3\u05f4\u0600-\u0603\u0606-\u060a\u060c\u0614"
    r"\u061b\u061e\u066a\u066d\u0703-\u070d\u07f6-\u07f8\u0964\u0965\u0e4f\u1fbd\u2016\u2017\u2020-\u2023\u2030-\u2038"
    r"\u203b\u203e-\u2042\u2044\u207a-\u207f\u208a-\u208e\u2100-\u214f\u2190-\u2bff\u3012\u30fb\uff01-\uff0f\uff1a-\uff20"
    r"\uff3b-\uff40\uff5b-\uff65]"
)
_QUOTED = "'`&" + _FOREIGN

_TABLE: tuple[tuple[str, str, Callable[[str], str]], ...] = (
    # (the token) and what is looked ahead at; of which signs it needs one; how the token is written
    (r"((?ai:c\+\+|[cf]#))", "+#", _kept),
    *((f"((?ai:{one}))(?ai:{two})", "", _kept) for one, two in _CUT.values()),
    ("('(?ai:t))(?ai:was|is)", "'", _kept),
    (f"({_TAG})", "<", _unbroken),
    (r"((?ai:&(?:md|mdash|ndash);)|[\x96\x97–—―])", "&" + _FOREIGN, _dropped),
    ("((?ai:&amp;))", "&", _ampersand),
    (r"((?ai:&(?:HT|TL|UR|LR|QC|QL|QR|odq|cdq|#[0-9]+);))", "&", _kept),
    (f"({_WORD}){_CLITIC}", _QUOTED, _unhyphenated),
    (rf"([A-Za-z\u00ad]*[A-MO-Za-mo-z]\u00ad*){_NOT}", _QUOTED, _unhyphenated),
    (f"({_WORD})", "", _unhyphenated),
    *((f"({form})", _QUOTED, _kept) for form in _APOSTROPHIZED),
    (f"((?ai:y){_APOSTROPHE})[{_ABC}]", _QUOTED, _kept),
    (r"""((?ai:https?)://[^ \t\n\f\r"<>|(){}]+[^ \t\n\f\r"<>|.!?(){},-])""", "/", _kept),
    (rf"""((?ai:www)\.(?:[^ \t\n\f\r"<>|.!?(){{}},]+\.)+[a-zA-Z]{{2,4}}{_PATH})""", ".", _kept),
    (rf"""((?:[^ \t\n\f\r"`'<>|.!?(){{}},-_$]+\.)+(?ai:com|net|org|edu){_PATH})""", ".", _kept),
    (rf"({_EMAIL})", "@", _kept),
    ("(@[a-zA-Z_][a-zA-Z_0-9]*)", "@", _kept),
    (f"(#{_LETTER}+)", "#", _kept),
    (f"({_CLITIC})[^A-Za-z]", _QUOTED, _straight),
    (f"({_NOT})[^A-Za-z]", _QUOTED, _straight),
    (r"(\d{1,2}[-/]\d{1,2}[-/]\d{2,4})", "-/", _kept),
    (f"({_NUMBER})", _DIGIT + _FOREIGN, _unhyphenated),
    (r"([\u207a\u207b\u208a\u208b]?(?:[\u2070¹²³\u2074-\u2079]+|[\u2080-\u2089]+))", _FOREIGN, _kept),
    (r"((?:\d{1,4}[- \u00a0])?\d{1,4}(?:\\?/|\u2044)\d{1,4})", "/" + _FOREIGN, _unbroken),
    (r"([¼½¾\u2153-\u215e])", _FOREIGN, _fraction),
    (r"((?ai:-[rl][rcs]b-|C\.D\.s|pro-|anti-|S&(?:amp;)?P-500|S&(?:amp;)?Ls))", "-.&", _ampersand),
    (r"([A-Za-z0-9]+(?:-[A-Za-z]+){0,2}(?:\\?/[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}){1,2})", "/", _kept),
    (r"([A-Z]*\$|#)", "$#", _kept),
    ("([¢£¤¥\x80\u20a0€\u060b\u0e3f\u20a4\uffe0\uffe1\uffe5\uffe6])", _FOREIGN, _currency),
    (rf"({_ACRONYM}\.){_SPACE}+(?:{_OPENER}|{_TAG}){_SPACE}", ".", _initial),
    (rf"((?ai:{_BEFORE_NUMBER})\.){_SPACE}?\d", ".", _kept),
    (rf"((?ai:pt[ey]|co)\.){_BLANK}(?ai:ltd|lim)", ".", _kept),
    (rf"((?:{_ABBREVIATION})\.)(?s:..)?", ".", _kept),
    (rf"((?:{_ACRONYM}|{_TITLE})\.)", ".", _kept),
    (f"((?ai:{_STATES})){_SPACE}", "-", _kept),
    (f"({_APOSTROPHE}[0-9][0-9]){_SPACE}", _QUOTED, _kept),
    (rf"([{_ABC}{_MARKS}\d]+(?:\.[{_ABC}{_MARKS}\d]+)*\.(?ai:{_FILE}))(?:{_SPACE}|[.?!,])", ".", _kept),
    (rf"({_WORD}\.){_IN_SENTENCE}", ".", _unhyphenated),
    (f"({_PHONE})", _DIGIT, _bracketed),
    (f"({_DOTTED_PHONE})", ".", _bracketed),
    ('("|(?ai:&quot;))', '"&', _dropped),
    ("(<|(?ai:&lt;))", "<&", lambda _: "<"),
    ("(>|(?ai:&gt;))", ">&", lambda _: ">"),
    (f"({_FACE})[^A-Za-z0-9]", ":;=", _bracketed),
    (f"({_EASTERN_FACE})", "_(", _bracketed),
    (r"([(){}\[\]])", "(){}[]", lambda sign: _BRACKETS[sign]),
    ("(-+)", "-", _dash),
    (r"(\.{3,5}|(?:\.[ \u00a0]){2,4}\.|[\x85\u2026])", "." + _FOREIGN, _dropped),
    (r"(@+|#+|_+|\*+|(?:\\\*){1,3})", "@#_*", _kept),
    (rf"({_IN_SENTENCE}|{_SENTENCE_END}|=|/)", ",;:?!.=/" + _FOREIGN, _kept),
    (rf"({_COMPOUND}\.){_IN_SENTENCE}", "-", _unhyphenated),
    (f"({_COMPOUND})", "-", _unhyphenated),
    (rf"({_THING}\.){_IN_SENTENCE}", ".", _kept),
    (f"({_THING})", _DIGIT + "-_" + _QUOTED, _kept),
    (rf"({_CAPITALS}\.){_IN_SENTENCE}", "+&", _ampersand),
    (f"({_CAPITALS})", "+&", _ampersand),
    (r"(')[A-Za-z][^ \t\n\r\u00a0]", "'", _dropped),
    (f"({_CLITIC}|{_NOT})", _QUOTED, _straight),
    (rf"(''|[`‘’‚‛“”\x91-\x94„‟‹›«»]{{1,2}}|{_APOSTROPHE})", _QUOTED, _straight),
    ("(<<|>>)", "<>", _kept),
    (f"({_SYMBOL})", "+%&~^|\\" + _FOREIGN, _kept),
    (f"((?ai:&nbsp;)|{_BLANK}+)", "&\t" + _FOREIGN, _dropped),
)
