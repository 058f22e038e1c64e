"""Workers that would run out of memory say so, with the setting to raise, before they do."""

import json
import subprocess
import sys

import pytest

from faults.gang import HEARTBEAT
from faults.models import local_fit
from faulty_gang import FaultyGang
from stoker.engine import core
from stoker.errors import UserError
from stoker.events import Failed
from stoker.spark.limits import memory_need as memory
from stoker.spark.limits.memory_need import Allowed, Limit, Need

MB = 1 << 20


def write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_need_is_state_twice_and_partial_sums():
    spec = {"program": {"parameters": [{"shape": [100, 50]}, {"shape": [50]}, {"shape": []}], "constants": []}}
    vector = 4 * (5000 + 50 + 1)
    adam, sgd = ({**spec, "optimizer": {"name": name, "groups": [{"lr": 0.1}]}} for name in ("adam", "sgd"))
    assert memory.need_of(core(), adam, 0, 1, 1) == Need(2 * 3 * vector, vector)
    assert memory.need_of(core(), sgd, 0, 1, 1) == Need(2 * vector, vector)
    assert memory.need_of(core(), sgd, 1, 2, 8) == Need(2 * vector, 4 * vector)  # 3 partials of 4 shards, and the sums


def test_need_counts_moments_that_are_numbers_and_what_each_worker_decides():
    weights, lines, blocks = 64 * 16 * 9, 64 * 16 * 3, 9
    spec = {"program": {"parameters": [{"shape": [64, 16, 3, 3]}]},
            "optimizer": {"name": "adafactor", "groups": [{"lr": 0.1}]}}  # fmt: skip
    need = memory.need_of(core(), spec, 0, 1, 1)
    sums = 4 * weights + 8 * (2 * lines + blocks)
    assert need.state == 2 * (4 * weights + 8 * 2 * lines) + sums
    assert need.sums == 4 * weights + 8 * (3 * lines + 2)


def test_need_counts_what_replicas_commit():
    program = {"parameters": [{"shape": [100]}], "constants": []}
    adam = {"program": program, "optimizer": {"name": "adam", "groups": [{"lr": 0.1}]}}

    def vectors(**strategy):
        need = memory.need_of(core(), {**adam, "strategy": strategy}, 0, 2, 4)
        return need.state / 400, need.sums / 400

    assert vectors(push={"rule": "downpour"}, inner_state="keep") == (2 * (1 + 4 * 3), 1)
    assert vectors(push={"rule": "downpour"}, inner_state="reset") == (2 * (1 + 4), 1 + 2 * 2)
    assert vectors(push={"rule": "elastic", "momentum": 0.9}, inner_state="keep") == (2 * (1 + 4 * 4), 2)
    assert vectors(push={"rule": "gradient"}, inner_state="keep") == (2 * (3 + 4 * 2), 1)
    assert vectors(push={"rule": "downpour"}, inner_state="keep", order="arrival") == (2 * (1 + 4 * 3), 1 + 2)
    assert vectors(push={"rule": "elastic"}, inner_state="keep", order="arrival") == (2 * (1 + 4 * 3), 1)
    outer, own = {"name": "sgd", "groups": [{"momentum": 0.9}]}, {"name": "own", "state": ["mean", "square"]}
    partials = 2  # of two shards: their sum, and one beside it
    assert vectors(outer=outer, inner_state="keep") == (2 * (1 + 1 + 4 * 2), partials + 1 + 1 + 2)
    assert vectors(outer=own, inner_state="keep") == (2 * (1 + 2 + 4 * 2), partials + 1 + 1 + 2)


def test_need_counts_what_shards_keep_of_their_gradients_and_what_they_tell():
    adam = {"optimizer": {"name": "adam", "groups": [{"lr": 0.1}]}}

    def need(shape, **strategy):
        program = {"parameters": [{"shape": shape}], "constants": []}
        found = memory.need_of(core(), {**adam, "program": program, "strategy": {"every": 100, **strategy}}, 0, 2, 4)
        return found.state / 400, found.sums / 400

    partials, rests, of_adam = core().slots_needed(0, 2, 4), 4, 2
    kept = 2 * (1 + of_adam + rests)
    assert need([100], share=0.1) == (kept + 4 * 0.1 * 2, 2)
    assert need([100], share=1) == (kept + 4 * 2, 2)
    assert need([100], threshold={}) == (kept + 4 / 16, 1)
    assert need([100], rank=2) == (kept + 2 + 1, 1 + partials), "a vector goes whole"
    assert need([10, 10], rank=2) == (kept + 2 + 0.4, 1 + 0.4 * partials)
    assert need([10, 5, 2], rank=1000) == (kept + 2 + 1, 1 + partials), "and where factors are no smaller"
    assert need([0, 100], rank=2) == (0, 0)


def test_need_counts_constants_once_on_a_host():
    constants = [
        {"dtype": "float32", "shape": [100, 10]},
        {"dtype": "bool", "shape": [7]},
        {"dtype": "int64", "shape": []},
    ]
    spec = {
        "program": {"parameters": [], "constants": constants},
        "optimizer": {"name": "sgd", "groups": [{"lr": 0.1}]},
    }
    need = memory.need_of(core(), spec, 0, 2, 2)
    assert need.constants == 4000 + 7 + 8
    limit = Limit("the container's memory", "it", 5000, 1200)
    with pytest.raises(UserError, match=r"twice, 0 MB for frozen weights and constants, and"):
        memory.check(need, [limit], 0)
    memory.check(need, [limit], 0, joins=True)  # its host has them


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        (None, 0),
        ({"names": ["accuracy"], "outputs": "logits", "width": 3}, 0),
        ({"names": ["accuracy", "roc_auc"], "outputs": "logits", "width": 1}, 24),
        ({"names": ["average_precision"], "outputs": "logits", "width": 2}, 24),
        ({"names": ["roc_auc_ovr", "average_precision_macro"], "outputs": "logits", "width": 5, "labels": 3}, 24 * 15),
        ({"names": ["ndcg_score_10", "hit_rate_3"], "outputs": "values", "width": 1}, 32),
    ],
)
def test_need_counts_the_order_of_rows_that_are_held_out(metrics, expected):
    evaluation = {"evaluation": {"metrics": metrics} if metrics else {}}
    spec = {"program": {"parameters": []}, "optimizer": {"name": "sgd", "groups": [{"lr": 0.1}]}, **evaluation}
    need = memory.need_of(core(), spec, 0, 1, 1)
    assert need.held_row == expected
    limit = Limit("the container's memory", "it", 40 * MB, 0)
    memory.check(need, [limit], 0, rows=2 * MB, held=0)
    if expected >= 24:
        told = rf"training needs [\d,]+ MB \(0 MB for .* twice, {expected * 2} MB for the order of {2 * MB} rows that"
        with pytest.raises(UserError, match=told):
            memory.check(need, [limit], 0, rows=4 * MB, held=2 * MB)
        memory.check(need, [limit], 0, rows=4 * MB, held=2 * MB, joins=True)  # its host has it


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"spark.master": "local[2]"}, None),
        ({"spark.master": "spark://h:7077", "spark.executor.memoryOverhead": "1g"}, None),
        ({"spark.master": "yarn"}, 384 * MB),
        ({"spark.master": "yarn", "spark.executor.memory": "20g"}, 2048 * MB),
        ({"spark.master": "k8s://h", "spark.executor.memory": "10g"}, 4096 * MB),
        ({"spark.master": "yarn", "spark.executor.memoryOverhead": "3000"}, 3000 * MB),
        ({"spark.master": "yarn", "spark.executor.memoryOverheadFactor": "0.5", "spark.executor.memory": "4g",
          "spark.executor.pyspark.memory": "1g"}, 3072 * MB),
    ],
)  # fmt: skip
def test_containers_of_a_cluster_manager_have_what_is_not_the_heap(settings, expected):
    found = memory.allowed(settings.get)
    assert found.container == expected
    assert found.setting == (memory.OVERHEAD if expected else
                             "the memory of the container or machine that the executors run in")  # fmt: skip


def test_limits_of_both_kinds_of_cgroups_are_found(tmp_path):
    write(tmp_path / "2", {"proc/self/cgroup": "0::/pod/spark\n",
                           "sys/fs/cgroup/pod/spark/memory.max": "max", "sys/fs/cgroup/pod/spark/memory.current": "7",
                           "sys/fs/cgroup/pod/memory.max": "1000", "sys/fs/cgroup/pod/memory.current": "900",
                           "sys/fs/cgroup/pod/memory.stat": "anon 5\ninactive_file 200\nactive_file 50\n"})  # fmt: skip
    (limit,) = memory.limits(Allowed(setting="it"), tmp_path / "2")
    assert limit == Limit("the container's memory (memory.max)", "it", 1000, 650)
    write(tmp_path / "1", {"proc/self/cgroup": "4:memory:/not/seen/inside\n1:cpu:/\n",
                           "sys/fs/cgroup/memory/memory.limit_in_bytes": "1000",
                           "sys/fs/cgroup/memory/memory.usage_in_bytes": "800",
                           "sys/fs/cgroup/memory/memory.stat": "total_inactive_file 100\n"})  # fmt: skip
    (limit,) = memory.limits(Allowed(setting="it"), tmp_path / "1")
    assert limit == Limit("the container's memory (memory.limit_in_bytes)", "it", 1000, 700)
    write(tmp_path / "0", {"proc/self/cgroup": "0::/\n"})
    assert memory.limits(Allowed(), tmp_path / "0") == []


def test_a_limit_of_the_address_space_and_of_the_container_are_found():
    code = """import json, resource; resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
from stoker.spark.limits import memory_need as memory
from stoker.events import Failed
print(json.dumps([vars(limit) for limit in memory.limits(memory.Allowed(5 << 30))]))"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    space, container = [limit for limit in json.loads(out) if "container's" not in limit["what"]]
    assert (space["what"], space["setting"]) == ("the process's address space (RLIMIT_AS)", memory.PYSPARK)
    assert (space["bytes"], space["own"]) == (4 << 30, True)
    assert 10 * MB < space["used"] < 4 << 30
    assert (container["setting"], container["bytes"]) == (memory.OVERHEAD, 5 << 30)
    assert 1 * MB < container["used"] < space["used"]


def test_too_little_is_an_error_with_the_need_and_the_setting():
    tight = Limit("the container's memory (memory.max)", memory.OVERHEAD, 1000 * MB, 800 * MB)
    wide = Limit("the process's address space (RLIMIT_AS)", memory.PYSPARK, 9000 * MB, 0, own=True)
    memory.check(Need(100 * MB, 100 * MB), [tight, wide], 3)
    with pytest.raises(UserError) as error:
        memory.check(Need(150 * MB, 100 * MB), [wide, tight], 3, rows=12345, row_bytes=70 * MB)
    assert str(error.value) == (
        "worker 3 has too little memory: training needs 250 MB (150 MB for weights and optimizer state, twice, and "
        "100 MB for sums of gradients) beside 12345 rows so far (70 MB), and 200 MB are left of 1,000 MB, the limit of "
        "the container's memory (memory.max); raise spark.executor.memoryOverhead, or use more executors or a smaller "
        "model"
    )


def test_who_joins_a_gang_finds_the_state_on_its_host_but_not_in_its_address_space():
    need = Need(150 * MB, 100 * MB)
    tight = Limit("the container's memory", memory.OVERHEAD, 1000 * MB, 800 * MB)
    memory.check(need, [tight], 0, joins=True)
    with pytest.raises(UserError, match=r"raise spark\.executor\.pyspark\.memory"):
        memory.check(need, [Limit("this", memory.PYSPARK, 200 * MB, 0, own=True)], 0, joins=True)


def test_a_model_that_cannot_fit_ends_the_fit_before_its_rows_are_read():
    fit = local_fit("mlp", rows=600, batch=48, epochs=1)
    gang = FaultyGang(fit, 2, options=HEARTBEAT, timeout=30, allowed=Allowed(container=1, setting="thisSetting"))
    with pytest.raises(
        RuntimeError, match=r"user: worker \d has too little memory: .*0 rows so far.*raise thisSetting"
    ):
        gang.run()


def test_two_kills_at_the_same_row_end_the_fit_with_the_setting_to_raise():
    fit = local_fit("mlp", rows=6000, batch=48, epochs=1)
    faults = {"STOKER_FAULTS": "ingest@58=slow:100;ingest@60=die"}  # what was told goes out in between
    gang = FaultyGang(fit, 2, options={**HEARTBEAT, "memory_setting": "thisSetting"}, timeout=30,
                      environment=lambda place, _: faults if place == 1 else {})  # fmt: skip
    with pytest.raises(RuntimeError, match=r"user: two attempts in a row were killed after about .* raise thisSetting"):
        gang.run()
    how = [event.how for event in gang.events if isinstance(event, Failed)]
    assert how[:2] == ["vanished"] * 2  # the end itself may be told as a third
