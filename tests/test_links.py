"""Costs and limits that follow the number of workers."""

import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parent.parent / "bench" / "links.py"


def test_a_thousand_heartbeats_do_not_have_all_members_looked_at_a_thousand_times():
    command = [sys.executable, str(BENCH), "coordinator", "1000", "3"]
    share = float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=120).stdout)
    assert share < 6, "percent of a core; the bench has the bar, this leaves room for busy machines"


def test_too_few_open_files_for_so_many_workers_are_told_before_a_job_starts():
    program = """if True:
        import resource
        from stoker import _core as core
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
        try:
            core.Coordinator({"secret": b"s" * 32, "workers": 1000, "shards": 1000, "torch_version": "2.13.0"})
        except Exception as error:
            print(type(error).__name__, error)
    """
    said = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert said.startswith("UserError the links to 1000 workers need 1"), said
    assert "and its limit is 256: raise it (ulimit -Hn, LimitNOFILE), or lower numWorkers" in said
