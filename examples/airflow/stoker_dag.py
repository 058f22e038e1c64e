"""A DAG of Airflow 3 that trains, scores and evaluates each day, by jobs of files (docs/commands.md).

Run:    make test-examples; or put it into the folder of DAGs and set
          STOKER_PYTHON  the Python that has Stoker, which Airflow's own need not have
          STOKER_JOBS    the folder of fit.yaml, transform.yaml and evaluate.yaml
Holds:  what is wrong in a job or its data (exit code 2) fails at once and is not tried again; all else is, and a fit
        then goes on from the day's checkpoints.
"""

import json
import os
import subprocess
from datetime import datetime, timedelta

from airflow.sdk import dag, task
from airflow.sdk.exceptions import AirflowException, AirflowFailException

WRONG = 2  # the exit code for what another try cannot mend


def stoker(command: str, *changes: str) -> str:
    """The last line that the command prints; of the job's file with these values changed."""
    program = [os.environ.get("STOKER_PYTHON", "python3"), "-m", "stoker", command, "--config", f"{command}.yaml"]
    changed = [word for change in changes for word in ("--set", change)]
    ended = subprocess.run([*program, *changed], cwd=os.environ.get("STOKER_JOBS"), capture_output=True, text=True,
                           check=False)  # fmt: skip
    print(ended.stdout)
    if ended.returncode:
        failure = AirflowFailException if ended.returncode == WRONG else AirflowException
        raise failure(f"stoker {command} ended with {ended.returncode}: {ended.stderr.strip()[-2000:]}")
    return (ended.stdout.strip().splitlines() or [""])[-1]


@dag(schedule="@daily", start_date=datetime(2026, 1, 1), catchup=False, max_active_runs=1,
     default_args={"retries": 3, "retry_delay": timedelta(minutes=5)})  # fmt: skip
def stoker_daily():
    @task
    def fit(ds: str | None = None) -> None:
        stoker("fit", f"params.checkpointDir=checkpoints/{ds}")

    @task
    def transform() -> None:
        stoker("transform")

    @task
    def evaluate() -> dict[str, float]:
        return json.loads(stoker("evaluate"))

    fit() >> [transform(), evaluate()]


daily = stoker_daily()
