"""examples/airflow/stoker_dag.py by Airflow's own dag.test(), in Airflow's environment: a fit that the cluster ended is
tried again, and all tasks succeed; a job that is wrong fails at once.

Run:    make test-examples
"""

import importlib
import os
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

DAGS = Path(__file__).parent.parent.parent / "examples/airflow"
# Ends as where the cluster fails, the first time.
FAILS_ONCE = """#!/bin/sh
[ -e {seen} ] || {{ touch {seen}; echo "an executor was lost" >&2; exit 3; }}
exec {python} "$@"
"""


def tasks_of(dag):
    """{task: (state, tries)} of a run, and the run."""
    run = dag.test()
    return {told.task_id: (str(told.state), told.try_number) for told in run.get_task_instances()}, run


def check_what_is_tried_again(dag, jobs):
    wrapper, seen = jobs / "fails_once", jobs / "seen"
    wrapper.write_text(FAILS_ONCE.format(seen=seen, python=os.environ["STOKER_PYTHON"]))
    wrapper.chmod(0o755)
    seen.unlink(missing_ok=True)
    os.environ["STOKER_PYTHON"] = str(wrapper)
    states, run = tasks_of(dag)
    assert states == {"fit": ("success", 2), "transform": ("success", 1), "evaluate": ("success", 1)}, states
    evaluated = next(told for told in run.get_task_instances() if told.task_id == "evaluate")
    scores = evaluated.xcom_pull(task_ids="evaluate")
    assert scores["accuracy"] > 0.9, scores
    assert any((jobs / "checkpoints" / run.logical_date.date().isoformat()).iterdir())
    return scores


def check_what_is_not(dag, jobs):
    wrong = jobs / "wrong"
    wrong.mkdir(exist_ok=True)
    shutil.copy(jobs / "wrong.yaml", wrong / "fit.yaml")
    os.environ["STOKER_JOBS"] = str(wrong)
    states, _ = tasks_of(dag)
    assert states["fit"] == ("failed", 1), states
    assert {states[name][0] for name in ("transform", "evaluate")} == {"upstream_failed"}, states


def main() -> None:
    os.environ.update(AIRFLOW__CORE__LOAD_EXAMPLES="False", AIRFLOW__CORE__DAGS_FOLDER=str(DAGS))
    subprocess.run([Path(sys.executable).parent / "airflow", "db", "migrate"], check=True, capture_output=True)
    sys.path.insert(0, str(DAGS))
    dag = importlib.import_module("stoker_dag").daily
    for task in dag.tasks:
        task.retry_delay = timedelta(0)
    jobs = Path(os.environ["STOKER_JOBS"])
    scores = check_what_is_tried_again(dag, jobs)
    check_what_is_not(dag, jobs)
    print(f"airflow: a fit that the cluster ended was tried again, all succeeded with {scores}; a wrong job was not")


if __name__ == "__main__":
    main()
