"""What a person sees, and the history's look."""

import io

from stoker.history import History
from stoker.ml.fitting import Phases
from stoker.progress import Bar, Lines, Silent, describe, make_progress

EPOCHS = [
    {"epoch": 1, "loss": 0.51234, "accuracy": 0.9, "rows_per_s": 123456.0, "seconds": 0.5, "bound_by": "compute"},
    {"epoch": 2, "loss": 0.25, "accuracy": 0.95, "rows_per_s": 2000.0, "seconds": 0.5, "bound_by": "sync"},
]


def metrics(epoch, step, rank=0):
    return {
        "rank": rank,
        "epoch": epoch,
        "step_of_epoch": step,
        "steps_of_epoch": 10,
        "loss": 0.5,
        "rows_per_s": 1000.0,
    }


def test_nothing_is_shown_when_not_wanted():
    assert isinstance(make_progress(0, 3), Silent)
    assert isinstance(make_progress(1, 3), Lines)  # tests have no terminal


def test_lines_come_at_the_end_of_each_epoch():
    out = io.StringIO()
    lines = Lines(2, out)
    for epoch in (1, 2):
        for step in range(1, 11):
            lines.event("metrics", metrics(epoch, step))
            lines.event("metrics", metrics(epoch, step, rank=1))
    assert out.getvalue().splitlines() == [
        f"stoker: epoch {epoch}/2, step 10/10: loss 0.5000, 1,000 rows/s" for epoch in (1, 2)
    ]


def test_the_bar_counts_steps_over_all_epochs():
    out = io.StringIO()
    bar = Bar(2, file=out, ascii=True, mininterval=0)
    bar.event("ingesting", {"rank": 0, "rows": 1000})
    bar.event("ingesting", {"rank": 1, "rows": 500})
    bar.event("metrics", metrics(2, 5))
    bar.close()
    assert "reading rows: 1,500" in out.getvalue()
    assert "15/20" in out.getvalue() and "epoch 2/2" in out.getvalue() and "loss 0.5000" in out.getvalue()


def test_waiting_for_workers_is_told_in_lines_and_beside_the_bar():
    waiting = {"come": 3, "workers": 8, "slots": 12}
    for made in (Lines(2, lines := io.StringIO()), Bar(2, file=(bar := io.StringIO()), ascii=True)):
        made.event("waiting", waiting)
        made.event("waiting", {**waiting, "slots": None})
        made.close()
    told = ["stoker: 3 of 8 workers have come (slots of the session: 12)", "stoker: 3 of 8 workers have come"]
    assert lines.getvalue().splitlines() == told
    assert [line for line in bar.getvalue().replace("\r", "\n").splitlines() if line in told] == told


def test_many_more_slots_than_workers_are_worth_a_line():
    lines = Lines(2, out := io.StringIO())
    for slots, workers in ((200, 1), (4, 2), (None, 1)):
        lines.event("slots", {"slots": slots, "workers": workers})
    assert out.getvalue() == "stoker: this session has 200 slots, numWorkers is 1\n"


def test_what_is_not_known_is_not_shown():
    assert describe({}) == ""
    assert describe({"loss": 1.0, "accuracy": 0.5}) == "loss 1.0000, accuracy 0.5000"


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


def test_phases_sum_to_the_whole_and_do_not_go_back():
    import time

    start = time.perf_counter()
    phases = Phases("compile")
    for event in ("slots", "reading", "admitted", "ingested", "started", "metrics", "result", "admitted"):
        time.sleep(0.002)
        phases.after(event)
    phases.enter("done")
    assert list(phases.seconds) == ["compile", "start", "ingest", "train", "finish"]
    assert abs(sum(phases.seconds.values()) - (time.perf_counter() - start)) < 0.01
