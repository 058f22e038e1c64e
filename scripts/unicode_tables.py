#!/usr/bin/env python3
"""Writes engine/text/unicode_tables.inc: what the engine's tokenizers know of characters.

Whatever decides a number is asked of the `tokenizers` package, character by character, because its parts follow
several versions of Unicode at once: pretrained models have seen what it does, not what a newer standard says. The order
of combining marks is that of Python's unicodedata, where the package moves them at all. To be run when the pinned
package changes:
    python scripts/unicode_tables.py [--check]
"""

import argparse
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

import tokenizers
from tokenizers.normalizers import NFD, BertNormalizer, Lowercase
from tokenizers.pre_tokenizers import BertPreTokenizer, ByteLevel, PreTokenizer, WhitespaceSplit

FILE = Path(__file__).parents[1] / "engine/text/unicode_tables.inc"
CHARACTERS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
HANGUL = range(0xAC00, 0xAC00 + 11172)  # decomposed by a formula
WIDTH = 118

CLEAN = BertNormalizer(clean_text=True, handle_chinese_chars=False, strip_accents=False, lowercase=False)
APART, SMALL = NFD(), Lowercase()
STRIP = BertNormalizer(clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=False)
BYTES, WORDS, SPACES = ByteLevel(add_prefix_space=False), BertPreTokenizer(), WhitespaceSplit()


def parts(how: PreTokenizer, text: str) -> int:
    return len(how.pre_tokenize_str(text))


def space(char: str) -> bool:
    return parts(SPACES, f"a{char}b") == 2


def control(char: str) -> bool:
    return CLEAN.normalize_str(f"a{char}b") == "ab"


def punctuation(char: str) -> bool:
    return parts(WORDS, f"a{char}b") == 3


def mark(char: str) -> bool:
    """That is none of the marks that are dropped with accents, though it may be made of some."""
    return STRIP.normalize_str(f"a{char}") == "a" and decomposed(char) == char


def letter(char: str) -> bool:
    return parts(BYTES, f"a{char}") == 1


def number(char: str) -> bool:
    return parts(BYTES, f"1{char}") == 1


def decomposed(char: str) -> str:
    return APART.normalize_str(char)


def moves(char: str) -> bool:
    """Past marks of class 1 or 230, so its own class is not 0."""
    return decomposed(f"{char}\u0334") != f"{char}\u0334" or decomposed(f"\u0301{char}") != f"\u0301{char}"


def classed(char: str) -> int:
    """Those who are made of others have none of their own."""
    return unicodedata.combining(char) if moves(char) and decomposed(char) == char else 0


TRAITS = (space, control, punctuation, mark, letter, number)


def traits(code: int) -> int:
    char = chr(code)
    has = [trait(char) for trait in TRAITS]
    other = not has[4] and not has[5] and parts(BYTES, f"#{char}") != 1
    assert other == has[0], f"U+{code:04X} is a space to one part of tokenizers alone"
    return sum(1 << i for i, one in enumerate(has) if one)


def runs(values: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Where a value begins that differs from the one before."""
    before = 0
    for code, value in values:
        if value != before:
            yield code, value
        before = value


def lowered() -> Iterator[tuple[int, int, int, int]]:
    """(first, last, step, way to the small letter). U+0130 alone becomes two and is not here."""
    run: list[int] = []
    for code in CHARACTERS:
        small = SMALL.normalize_str(chr(code))
        if small == chr(code) or len(small) > 1:
            assert small == chr(code) or code == 0x130
            continue
        way = ord(small) - code
        if run and way == run[3] and code - run[1] in (1, 2) and (run[0] == run[1] or code - run[1] == run[2]):
            run[1:3] = [code, code - run[1]]
            continue
        if run:
            yield tuple(run)
        run = [code, code, 1, way]
    yield tuple(run)


def decompositions() -> Iterator[tuple[int, ...]]:
    """(character, how many it becomes, these ...)."""
    for code in CHARACTERS:
        into = decomposed(chr(code))
        if into != chr(code) and code not in HANGUL:
            yield code, len(into), *map(ord, into)


def table(name: str, what: str, numbers: Iterable[Iterable[int]]) -> list[str]:
    lines = ["", f"// {what}", f"constexpr int32_t {name}[] = {{"]
    line = "   "
    for number in (one for row in numbers for one in row):
        if len(line) + len(word := f" {number},") > WIDTH:
            lines.append(line)
            line = "   "
        line += word
    return [*lines, line, "};"]


def written() -> str:
    of = [(code, traits(code)) for code in CHARACTERS]
    classes = [(code, classed(chr(code))) for code in CHARACTERS]
    return "\n".join([
        f"// Made by scripts/unicode_tables.py from tokenizers {tokenizers.__version__} and Python's unicodedata "
        f"{unicodedata.unidata_version}; not by hand.",
        *table("kTraitRuns", "first character of a run, its traits (unicode.h)", runs(of)),
        *table("kClassRuns", "first character of a run, its combining class", runs(classes)),
        *table("kLowerRuns", "first, last, step, distance of the small letter", lowered()),
        *table("kDecompositions", "character, how many it becomes, these", decompositions()),
        "",
    ])  # fmt: skip


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--check", action="store_true", help="compare with the file, write nothing")
    check, text = options.parse_args().check, written()
    if not check:
        FILE.write_text(text)
    elif FILE.read_text() != text:
        print(f"{FILE.name} is not what this tokenizers and this Python say: run scripts/unicode_tables.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
