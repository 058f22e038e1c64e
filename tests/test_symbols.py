"""scripts/check_symbols.py sees what a module needs of the system; PySpark is the cluster's own."""

import re
from pathlib import Path

import pytest

import stoker
from test_arrows import script_of

ROOT = Path(__file__).parent.parent
TABLE = """
/x/libstoker_core.so:     file format elf64-x86-64

DYNAMIC SYMBOL TABLE:
0000000000000000      DF *UND*	0000000000000000 (GLIBC_2.34) pthread_create
0000000000000000      DF *UND*	0000000000000000 (GLIBCXX_3.4.30) _ZNSt18condition_variable4wait
0000000000000000  w   D  *UND*	0000000000000000  Base        __gmon_start__
0000000000000000      DF *UND*	0000000000000000 (GLIBC_2.2.5) memcpy
0000000000001000 g    DF .text	0000000000000010 (GLIBC_2.99) ours
"""


@pytest.fixture(scope="module")
def script():
    return script_of("check_symbols")


def test_only_what_is_needed_of_others_counts(script):
    symbols = script.symbols_in(TABLE)
    assert script.highest(symbols) == {"GLIBC": (2, 34), "GLIBCXX": (3, 4, 30)}
    assert script.beyond(symbols, {"GLIBC": (2, 28)}) == ["pthread_create (GLIBC_2.34)"]
    assert script.beyond(symbols, script.ALLOWED) == []


def test_a_newer_symbol_than_is_allowed_would_be_found(script):
    symbols = [("GLIBC", (2, 38), "strlcpy"), ("GLIBC", (2, 4), "memset")]
    assert script.beyond(symbols, script.ALLOWED) == ["strlcpy (GLIBC_2.38)"]


def test_versions_are_compared_as_numbers(script):
    assert script.highest([("GLIBC", (2, 9), "a"), ("GLIBC", (2, 10), "b")]) == {"GLIBC": (2, 10)}


def test_an_installation_does_not_replace_the_cluster_s_pyspark():
    text = (ROOT / "pyproject.toml").read_text()
    assert "pyspark" not in re.search(r"^dependencies = .*$", text, re.M)[0]
    assert re.search(r"^spark = \[\"pyspark>=4.0\"\]$", text, re.M)


def test_a_python_without_pyspark_is_told(monkeypatch):
    monkeypatch.setitem(stoker._HOMES, "doctor", "pyspark.not_there")
    with pytest.raises(ModuleNotFoundError, match=r"on a cluster use the Python that has it, elsewhere install stoker"):
        stoker.__getattr__("doctor")
