"""What a person sees, and the history's look."""

import io
import itertools
from types import SimpleNamespace

from stoker.events import Admitted, Ingested, Ingesting, Metrics, Reading, ResultCame, Slots, Started, Waiting
from stoker.fit.run import Phases
from stoker.history import History
from stoker.observe.progress import Bar, Lines, Silent, describe, make_progress

EPOCHS = [
    {"epoch": 1, "loss": 0.51234, "accuracy": 0.9, "rows_per_s": 123456.0, "seconds": 0.5, "bound_by": "compute"},
    {"epoch": 2, "loss": 0.25, "accuracy": 0.95, "rows_per_s": 2000.0, "seconds": 0.5, "bound_by": "sync"},
]


def metrics(epoch, step, rank=0, **more):
    where = {"step": 10 * (epoch - 1) + step, "step_of_epoch": step, "steps_of_epoch": 10, "epochs": 2}
    return Metrics(rank=rank, epoch=epoch, **where, **{"loss": 0.5, "rows_per_s": 1000.0, **more})


def test_nothing_is_shown_when_not_wanted():
    assert isinstance(make_progress(0, 3), Silent)
    assert isinstance(make_progress(1, 3), Lines)  # tests have no terminal


def test_lines_come_at_the_end_of_each_epoch():
    out = io.StringIO()
    lines = Lines(2, out)
    for epoch in (1, 2):
        for step in range(1, 11):
            lines.event(metrics(epoch, step))
            lines.event(metrics(epoch, step, rank=1))
    assert out.getvalue().splitlines() == [
        f"stoker: epoch {epoch}/2, step 10/10: loss 0.5000, 1,000 rows/s" for epoch in (1, 2)
    ]


def test_the_bar_counts_steps_over_all_epochs():
    out = io.StringIO()
    bar = Bar(2, file=out, ascii=True, mininterval=0)
    bar.event(Ingesting(0, 1000))
    bar.event(Ingesting(1, 500))
    bar.event(metrics(2, 5))
    bar.close()
    assert "reading rows: 1,500" in out.getvalue()
    assert "15/20" in out.getvalue() and "epoch 2/2" in out.getvalue() and "loss 0.5000" in out.getvalue()


def test_waiting_for_workers_is_told_in_lines_and_beside_the_bar():
    for made in (Lines(2, lines := io.StringIO()), Bar(2, file=(bar := io.StringIO()), ascii=True)):
        made.event(Waiting(3, 8, 12))
        made.event(Waiting(3, 8, None))
        made.close()
    told = ["stoker: 3 of 8 workers have come (slots of the session: 12)", "stoker: 3 of 8 workers have come"]
    assert lines.getvalue().splitlines() == told
    assert [line for line in bar.getvalue().replace("\r", "\n").splitlines() if line in told] == told


def test_many_more_slots_than_workers_are_worth_a_line():
    lines = Lines(2, out := io.StringIO())
    for slots, workers in ((200, 1), (4, 2), (None, 1)):
        lines.event(Slots(workers, slots))
    assert out.getvalue() == "stoker: this session has 200 slots, numWorkers is 1\n"


def test_what_is_not_known_is_not_shown():
    assert describe(metrics(1, 1, loss=None, rows_per_s=0.0)) == ""
    assert describe(metrics(1, 1, loss=1.0, accuracy=0.5, rows_per_s=0.0)) == "loss 1.0000, accuracy 0.5000"


def test_history_is_a_list_of_epochs_that_prints_as_a_table():
    history = History(EPOCHS, {"digest": "d", "phases": {"train": 1.0}})
    assert history[1]["accuracy"] == 0.95 and history.phases == {"train": 1.0}
    assert repr(history).splitlines() == [
        "epoch    loss  accuracy  rows_per_s  seconds  bound_by",
        "    1  0.5123       0.9     123,456      0.5   compute",
        "    2    0.25      0.95       2,000      0.5      sync",
    ]
    again = History.from_json(history.to_json())
    assert again == history and again.info == history.info
    assert repr(History()) == ""


def test_phases_sum_to_the_whole_and_do_not_go_back(monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr("stoker.fit.run.time", SimpleNamespace(perf_counter=lambda: float(next(ticks))))
    phases = Phases("compile")
    came, began = Admitted(0, "a", 7, 1), Started(1, 1, 0, 1, 100, 0, 0, 2, "all rows are in")
    for event in (Slots(1, 4), Reading(), came, Ingested(0, 100, 1), began, metrics(1, 1), ResultCame(0, 9, "d"), came):
        phases.event(event)
    phases.enter("done")
    assert list(phases.seconds) == ["compile", "start", "ingest", "train", "finish"]
    assert sum(phases.seconds.values()) == next(ticks) - 1
