"""What Spark's text of a physical plan proves: that it is a plain scan of Parquet files, and of which columns."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pyspark.sql import DataFrame

CHUNK = 20  # columns; Spark leaves out those beyond 25


class Refused(Exception):
    """Why the workers cannot read the rows by themselves; the text follows "because"."""


_INDENT = re.compile(r"[ :]*(?:\+- )?(?:\*\(\d+\) )?")
_SCAN = re.compile(
    r"FileScan parquet [^\[ ]*\[.*\] Batched: (?:true|false), DataFilters: \[\], Format: Parquet, "
    r"Location: InMemoryFileIndex\(1 paths\)\[.*, PartitionFilters: \[\], PushedFilters: \[\], ReadSchema: struct<.*"
)
_SHORTENED = re.compile(r"\.\.\. \d+ more fields\]$")


def file_columns(df: DataFrame, names: Sequence[str]) -> dict[str, str]:
    """The columns of the files that the DataFrame's columns `names` are. Raises Refused."""
    wanted = [name for name in df.columns if name in set(names)]  # in their order, Spark need not put them in another
    text = explained(df, wanted)
    if not _SHORTENED.search(_head(text)):
        return columns_of(text, wanted)
    found: dict[str, str] = {}
    for begin in range(0, len(wanted), CHUNK):
        chunk = wanted[begin : begin + CHUNK]
        found.update(columns_of(explained(df, chunk), chunk))
    return found


def explained(df: DataFrame, names: Sequence[str]) -> str:
    rows = df.select(*["`" + name.replace("`", "``") + "`" for name in names])
    return df.sparkSession.sql("EXPLAIN SELECT * FROM {rows}", rows=rows).collect()[0][0]


def columns_of(text: str, names: Sequence[str]) -> dict[str, str]:
    """The same from the plan's text; `names` are the columns that it gives, in order. A pure function."""
    nodes = [_INDENT.sub("", line, count=1) for line in text.splitlines()[1:] if line.strip()]
    above = [node for node in nodes[:-1] if node != "ColumnarToRow"]
    if above and not above[-1].startswith("Project ["):
        raise Refused(f"its plan has '{above[-1].split()[0]}' above the scan of the files")
    if len(above) > 1:
        raise Refused(f"its plan has '{above[0].split()[0]}' above the scan of the files")
    _check_scan(nodes[-1] if nodes else "")
    return _projected(above[0], names) if above else dict(zip(names, names))


def _check_scan(node: str) -> None:
    if _SCAN.fullmatch(node) and node.count("PartitionFilters: ") == 1:
        return
    if not node.startswith("FileScan parquet "):
        raise Refused(f"its plan has '{' '.join(node.split()[:2])}', which is no scan of Parquet files")
    if "Filters: [" in re.sub(r"Filters: \[\]", "", node):
        raise Refused("its rows are filtered")
    if (paths := re.search(r"Location: InMemoryFileIndex\((\d+) paths\)", node)) and paths[1] != "1":
        raise Refused(f"it reads {paths[1]} paths at once; a folder of files counts as one")
    raise Refused("the scan of the files is not a plain one")


def _projected(node: str, names: Sequence[str]) -> dict[str, str]:
    """Plain columns, some of them renamed."""
    items = [rf"(?:(\w+)#\d+L? AS )?{re.escape(name)}#\d+L?" for name in names]
    found = re.fullmatch(rf"Project \[{', '.join(items)}\]", node)
    if found is None:
        raise Refused("its columns are computed")
    return {name: source or name for name, source in zip(names, found.groups())}


def _head(text: str) -> str:
    """The uppermost node."""
    lines = text.splitlines()[1:]
    return lines[0] if lines and "Project [" in lines[0] else ""
