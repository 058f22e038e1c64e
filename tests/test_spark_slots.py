"""How many tasks a session can run, and the order in which fits get their slots."""

import threading
import time

import pytest

from stoker.errors import UserError
from stoker.spark.limits.slots import SlotQueue, check_enough, machine_cores, max_slots
from stoker.spark.session import conf_of


def conf(**settings):
    settings = {"spark." + key.replace("_", "."): value for key, value in settings.items()}
    return settings.get


@pytest.mark.parametrize(
    ("settings", "slots"),
    [
        ({"master": "local"}, 1),
        ({"master": "local[2]"}, 2),
        ({"master": "local[3,8]"}, 3),
        ({"master": "local[ 3 , 8 ]"}, None),
        ({"master": "local[*]"}, machine_cores()),
        ({"master": "local-cluster[3,2,1024]"}, 6),
        ({"master": "local-cluster[3,2,1024]", "task_cpus": "2"}, 3),
        ({"master": "local[4]", "task_cpus": "3"}, 1),
        ({"master": "yarn", "executor_instances": "5"}, 5),
        ({"master": "yarn", "executor_instances": "5", "executor_cores": "4"}, 20),
        ({"master": "spark://h:7077"}, None),
        # A standalone master does not look at executor.instances: seen with Spark 4.3.
        ({"master": "spark://h:7077", "executor_instances": "2", "executor_cores": "4"}, None),
        ({"master": "spark://h:7077", "cores_max": "11", "executor_cores": "4"}, 8),
        ({"master": "spark://h:7077", "cores_max": "11", "executor_cores": "4", "task_cpus": "3"}, 2),
        ({"master": "spark://h:7077", "cores_max": "3"}, 3),
        (
            {
                "master": "spark://h:7077",
                "cores_max": "8",
                "executor_cores": "2",
                "dynamicAllocation_enabled": "true",
                "dynamicAllocation_maxExecutors": "3",
            },
            6,
        ),
        ({"master": "spark://h:7077", "executor_cores": "2", "dynamicAllocation_enabled": "true"}, None),
        ({"master": "k8s://h", "dynamicAllocation_enabled": "true"}, None),
        ({"master": "k8s://h", "dynamicAllocation_enabled": "true", "dynamicAllocation_maxExecutors": "3"}, 3),
        (
            {"master": "k8s://h", "dynamicAllocation_enabled": "true", "dynamicAllocation_maxExecutors": "2147483647"},
            None,
        ),
        ({}, None),
    ],
)
def test_slots_are_read_from_the_session(settings, slots):
    assert max_slots(conf(**settings)) == slots


def test_the_real_session_tells_its_slots(spark):
    assert max_slots(conf_of(spark)) == 2


def test_too_many_workers_are_refused_with_both_numbers():
    with pytest.raises(
        UserError, match="numWorkers=3 needs 3 tasks at the same time, but this Spark session can run 2"
    ):
        check_enough(3, 2)
    check_enough(2, 2)
    check_enough(100, None)


@pytest.mark.parametrize("capacity", [4, None])
def test_a_fit_sees_whether_others_want_slots(capacity):
    queue = SlotQueue()
    with queue.lease(2, capacity):
        assert not queue.shared()
        with queue.lease(2, capacity):
            assert queue.shared()
        assert not queue.shared()


def test_a_fit_knows_beforehand_whether_it_will_wait_and_for_whom():
    queue = SlotQueue()
    assert queue.in_the_way(2, 4) == 0
    with queue.lease(3, 4):
        assert (queue.in_the_way(1, 4), queue.in_the_way(2, 4)) == (0, 3)


def run_all(queue, wanted, capacity):
    """Starts fits one after the other; returns how many slots were taken at most, and who got in in which order."""
    lock, order, taken, most = threading.Lock(), [], [0], [0]

    def one(index, slots):
        with queue.lease(slots, capacity):
            with lock:
                order.append(index)
                taken[0] += slots
                most[0] = max(most[0], taken[0])
            time.sleep(0.05)
            with lock:
                taken[0] -= slots

    threads = []
    for index, slots in enumerate(wanted):
        threads.append(threading.Thread(target=one, args=(index, slots)))
        threads[-1].start()
        time.sleep(0.01)
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    return most[0], order


def test_fits_that_do_not_fit_side_by_side_wait():
    most, _ = run_all(SlotQueue(), [2, 2, 2, 1, 1], 2)
    assert most == 2


def test_a_big_fit_is_not_overtaken_by_small_ones():
    _, order = run_all(SlotQueue(), [1, 2, 1, 1], 2)
    assert order.index(1) == 1


def test_an_unknown_capacity_lets_all_in():
    most, _ = run_all(SlotQueue(), [2, 2, 2], None)
    assert most == 6


def test_a_fit_that_fails_gives_its_slots_back():
    queue = SlotQueue()
    with pytest.raises(RuntimeError), queue.lease(2, 2):
        raise RuntimeError
    with queue.lease(2, 2):
        pass


def test_a_waiting_fit_that_is_interrupted_leaves_the_queue():
    queue = SlotQueue()
    with queue.lease(2, 2):

        def never(*_):
            raise KeyboardInterrupt

        queue._changed.wait = never
        with pytest.raises(KeyboardInterrupt), queue.lease(1, 2):
            pass
        del queue._changed.wait
    with queue.lease(2, 2):
        pass
