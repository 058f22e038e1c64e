"""scripts/check_symbols.py sees what a module needs of the system; PySpark is the cluster's own."""

import ctypes
import re
import shlex
import subprocess
import sys
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


USES_NEWER = """
#include <sys/stat.h>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <memory>
#include <stdexcept>
#include <thread>
extern "C" double run(const char* text, const char* path, double base) try {
  std::mutex mutex;
  std::condition_variable done;
  bool ready = false;
  std::thread other([&] { std::lock_guard lock(mutex); ready = true; done.notify_one(); });
  std::unique_lock lock(mutex);
  done.wait_for(lock, std::chrono::seconds(10), [&] { return ready; });
  const bool in_vain = done.wait_for(lock, std::chrono::milliseconds(20), [] { return false; });
  lock.unlock();
  other.join();
  double value = 0;
  std::from_chars(text, text + 4, value);
  struct stat told;
  if (in_vain || stat(path, &told) != 0) throw std::runtime_error("wrong");
  return std::pow(base, value) + std::exp(0.0) + std::make_shared<int>(0).use_count();
} catch (const std::exception&) { return -1; }
"""


def test_what_is_linked_for_old_systems_needs_no_newer_and_runs(script, tmp_path):
    told = subprocess.run([sys.executable, ROOT / "scripts/old_system.py", tmp_path], check=True, capture_output=True,
                          text=True)  # fmt: skip
    (tmp_path / "it.cc").write_text(USES_NEWER)
    made = tmp_path / "it.so"
    command = ["c++", "-std=c++20", "-O2", "-fPIC", "-shared", "-nodefaultlibs", "-Wl,--exclude-libs,ALL,-z,defs"]
    subprocess.run([*command, "-o", made, tmp_path / "it.cc", *shlex.split(told.stdout)], check=True)
    symbols = script.symbols_of(made)
    assert script.beyond(symbols, script.OLD) == []
    assert ("GLIBC", (2, 2, 5), "pow") in symbols
    run = ctypes.CDLL(str(made)).run
    run.restype, run.argtypes = ctypes.c_double, [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_double]
    assert run(b"3.00", b"/", 2.0) == 2**3 + 1 + 1
    assert run(b"3.00", b"/not/there", 2.0) == -1


def test_of_a_symbol_s_versions_the_newest_that_old_systems_have_is_taken():
    table = """
   10: 0000000000001000    20 FUNC    GLOBAL DEFAULT   15 pthread_create@GLIBC_2.2.5
   11: 0000000000001000    20 FUNC    GLOBAL DEFAULT   15 pthread_create@@GLIBC_2.34
   12: 0000000000002000    20 IFUNC   GLOBAL DEFAULT   15 memcpy@GLIBC_2.2.5
   13: 0000000000002000    20 IFUNC   GLOBAL DEFAULT   15 memcpy@@GLIBC_2.14
   14: 0000000000003000     8 OBJECT  GLOBAL DEFAULT   20 stderr@@GLIBC_2.2.5
   15: 0000000000004000    20 FUNC    GLOBAL DEFAULT   15 gettid@@GLIBC_2.30
   16: 0000000000000000     0 OBJECT  GLOBAL DEFAULT  ABS GLIBC_2.14@@GLIBC_2.14
   17: 0000000000000000     0 FUNC    GLOBAL DEFAULT  UND read@GLIBC_2.2.5 (2)
"""
    old_system = script_of("old_system")
    found = [(one.name, one.node, one.is_data) for one in old_system.old(old_system.symbols_in(table))]
    assert found == [
        ("memcpy", "GLIBC_2.14", False),
        ("pthread_create", "GLIBC_2.2.5", False),
        ("stderr", "GLIBC_2.2.5", True),
    ]


def test_an_installation_does_not_replace_the_cluster_s_pyspark():
    text = (ROOT / "pyproject.toml").read_text()
    assert "pyspark" not in re.search(r"^dependencies = .*$", text, re.M)[0]
    assert re.search(r"^spark = \[\"pyspark>=4.0\"\]$", text, re.M)


def test_a_python_without_pyspark_is_told(monkeypatch):
    monkeypatch.setitem(stoker._HOMES, "doctor", "pyspark.not_there")
    with pytest.raises(ModuleNotFoundError, match=r"on a cluster use the Python that has it, elsewhere install stoker"):
        stoker.__getattr__("doctor")
