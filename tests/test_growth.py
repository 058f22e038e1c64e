"""Workers that join a gang after its start take shards over between two steps, and the model comes out the same."""

import pytest

from faults.gang import HEARTBEAT, outcome, undisturbed
from faults.models import SHARDS, local_fit
from faulty_gang import FaultyGang
from stoker.events import Failed, GivenUp, Ingested, Metrics, Started

EPOCHS = {"mlp": 200, "cnn": 60}  # seconds, so that late workers come in time


@pytest.fixture(scope="module")
def fits():
    return {model: local_fit(model, rows=600, batch=48, epochs=epochs) for model, epochs in EPOCHS.items()}


@pytest.fixture(scope="module")
def references(fits):
    return {model: undisturbed(fit, 2) for model, fit in fits.items()}


class Late:
    """Starts the late workers when the gang trains. `act(gang, event)` sees all that happens after that."""

    def __init__(self, act=lambda gang, event: None):
        self.act = act

    def __call__(self, gang, event):
        if isinstance(event, Started) and event.generation == 1:
            for place in range(gang.workers, gang.most):
                gang.start(place)
        self.act(gang, event)


class Kill:
    """Of the newest process of a rank, at the first event that is `when`; `pids` has it."""

    def __init__(self, rank, when):
        self.rank, self.when, self.pids = rank, when, []

    def __call__(self, gang, event):
        if not self.pids and self.when(event):
            self.pids.append(gang.newest(self.rank).pid)
            gang.kill(self.rank)


def taken_in(event):
    return isinstance(event, Started) and event.late


def grow(fit, workers, most, act=lambda gang, event: None, **options):
    gang = FaultyGang(fit, workers, most, on_event=Late(act), options={**HEARTBEAT, **options})
    return gang.run()


@pytest.mark.parametrize(
    ("model", "workers", "most", "tcp"),
    [("mlp", 1, 2, False), ("cnn", 1, 4, False), ("mlp", 1, 3, True), ("cnn", 2, 4, True)],
)
def test_late_workers_are_taken_in_without_a_step_done_twice(model, workers, most, tcp, fits, references):
    grown = grow(fits[model], workers, most, force_tcp=tcp)
    came, alone = outcome(grown.history), references[model]
    assert (came["digest"], came["losses"]) == (alone["digest"], alone["losses"])
    assert tcp or came["micro_batches"] == alone["micro_batches"]  # with TCP each rank is a host with its own ledger
    sizes = [event.workers for event in grown.told(Started)]
    assert (sizes[0], sizes[-1], grown.history["workers"]) == (workers, most, most)
    assert sizes == sorted(set(sizes)), "each generation is larger"
    commits = [event.commit for event in grown.told(Started)]
    assert commits == sorted(set(commits)), "training went on between them"
    assert grown.told(Failed) == []


def test_one_that_dies_as_it_is_taken_in_costs_a_step_at_most(fits, references):
    kill = Kill(1, lambda event: isinstance(event, Ingested) and event.rank == 1)
    grown = grow(fits["mlp"], 1, 2, kill)
    came = outcome(grown.history)
    assert (came["digest"], came["losses"]) == (references["mlp"]["digest"], references["mlp"]["losses"])
    assert came["micro_batches"] <= references["mlp"]["micro_batches"] + SHARDS
    assert [event.pid for event in grown.told(Failed)] == kill.pids


def test_the_gang_goes_on_at_once_without_a_late_worker_that_died(fits, references):
    grown = grow(fits["cnn"], 1, 2, Kill(1, taken_in))
    came = outcome(grown.history)
    assert came["digest"] == references["cnn"]["digest"]
    assert came["micro_batches"] <= references["cnn"]["micro_batches"] + SHARDS
    sizes = [event.workers for event in grown.told(Started)]
    assert sizes[:3] == [1, 2, 1], "nobody waited for the newcomer"
    assert sizes[-1] == 2, "which was taken in again"


def test_a_death_beside_a_late_worker_is_survived(fits, references):
    grown = grow(fits["cnn"], 1, 2, Kill(0, taken_in))
    came = outcome(grown.history)
    assert came["digest"] == references["cnn"]["digest"]
    assert came["micro_batches"] <= references["cnn"]["micro_batches"] + SHARDS
    assert [len(pids) for pids in grown.pids] == [2, 1]


def rows_of_epochs(outcome):
    return [epoch["rows"] for epoch in outcome.history["epochs"]]


def test_a_lost_workers_rows_may_be_done_without_and_come_again(fits):
    """onWorkerLost="continue": epochs are smaller from the loss on, and whole again when somebody brings the rows."""
    killed, again = [], []

    def act(gang, event):
        if isinstance(event, Metrics) and event.epoch == 20 and not killed:
            killed.append(event.epoch)
            gang.kill(1)
        if isinstance(event, Metrics) and killed and event.epoch >= 50 and not again:
            again.append(event.epoch)
            gang.start(1)

    lossy = {**HEARTBEAT, "worker_timeout": 0.3, "allow_lost_rows": True}
    came = FaultyGang(fits["mlp"], 2, on_event=act, options=lossy, restarts=False).run()
    (told,) = came.told(GivenUp)
    assert told.text.endswith(
        "within 0.3 s (workerTimeout): training goes on without its rows (onWorkerLost='continue')"
    )
    assert [event.workers for event in came.told(Started)] == [2, 1, 2]
    rows = rows_of_epochs(came)
    assert len(rows) == EPOCHS["mlp"]
    assert (rows[10], rows[-1]) == (600, 600)
    assert set(rows[25:50]) == {300}
