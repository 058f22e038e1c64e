"""Checkpoints as objects: what is whole, what is not, what is kept, and where. No fit."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from stoker.checkpoint import manifest
from stoker.checkpoint.keeper import Keeper
from stoker.checkpoint.newest import Search, search
from stoker.checkpoint.storage import FsspecStorage, LocalStorage, check_writable, open_storage
from stoker.engine import core
from stoker.errors import UserError, WorldError
from stoker.events import CheckpointPart

STATE = np.arange(200, dtype=np.uint8).tobytes()


class Place:
    """A storage with checkpoints, and what was said about them."""

    def __init__(self, storage, keep=2):
        self.storage, self.keep, self.said = storage, keep, []
        self.keeper = self.make_keeper(Search(None, []))

    def make_keeper(self, found):
        return Keeper(self.storage, {"identity": {"seed": 0}}, self.keep, found, self.said.append)

    def write(self, step, of=2, only=None):
        """A checkpoint as `of` workers make it; `only`: the part that arrives."""
        cuts = np.linspace(0, len(STATE), of + 1).astype(int)
        for part in range(of) if only is None else [only]:
            data = core().make_part(step + 1, int(cuts[part]), STATE[cuts[part] : cuts[part + 1]])
            self.storage.put(f"{manifest.folder_name(step)}/part-{part}-of-{of}", [data])
            self.keeper.event(self.told(step, part, of, data))

    def told(self, step, part, of, data, **more):
        head = core().check_part(data)
        return CheckpointPart(step=step, part=part, of=of, size=len(data), stall=0.1, seconds=0.2,
                              begin=head["begin"], bytes=head["bytes"], digest=head["digest"],
                              state={"sections": [["weights", len(STATE)]]}, **more)  # fmt: skip

    def find(self):
        return search(self.storage, self.said.append)

    def folders(self):
        return sorted(int(name.removeprefix("step-")) for name in self.storage.folders())


def memory_without_rename(name):
    from fsspec.implementations.memory import MemoryFileSystem

    class NoRename(MemoryFileSystem):
        def mv(self, *_, **__):
            raise NotImplementedError

        mv_file = rename = move = mv

    storage = FsspecStorage(f"memory://{name}")
    storage._fs = NoRename()
    return storage


@pytest.fixture(params=["local", "memory"])
def place(request, tmp_path):
    if request.param == "local":
        return Place(LocalStorage(str(tmp_path / "deep" / "er")))
    return Place(memory_without_rename(f"/{tmp_path.name}-{os.getpid()}"))


def test_nothing_is_found_where_nothing_is(place):
    assert place.find() == Search(None, [])


def test_the_newest_is_found(place):
    for step in (5, 10):
        place.write(step)
    found = place.find()
    assert (found.newest.step, found.torn, place.said) == (10, [], [])
    assert [part["name"] for part in found.newest.manifest["parts"]] == ["part-0-of-2", "part-1-of-2"]


def test_older_ones_go_when_a_newer_is_whole(place):
    for step in (5, 10, 15, 20):
        place.write(step, of=1)
    assert place.folders() == [15, 20]
    place.write(25, of=2, only=0)
    assert place.folders() == [15, 20, 25]
    assert not place.keeper.settled()
    place.write(30)
    assert place.folders() == [20, 30]
    assert place.keeper.settled()


@pytest.mark.parametrize("victim", ["manifest", "part-0-of-2", "part-1-of-2"])
def test_one_that_is_cut_anywhere_is_refused_and_the_one_before_is_used(place, victim):
    place.write(5)
    place.write(10)
    name = f"{manifest.folder_name(10)}/{victim}"
    data = place.storage.get(name)
    for length in range(len(data)):
        place.storage.put(name, [data[:length]])
        assert place.find().newest.step == 5, length
    place.storage.put(name, [data])
    assert place.find().newest.step == 10


@pytest.mark.parametrize("victim", ["manifest", "part-1-of-2"])
def test_one_with_a_wrong_byte_is_refused_in_words(place, victim):
    place.write(5)
    place.write(10)
    name = f"{manifest.folder_name(10)}/{victim}"
    data = bytearray(place.storage.get(name))
    data[-1] ^= 1
    place.storage.put(name, [bytes(data)])
    assert place.find().newest.step == 5
    assert place.said[0].startswith(f"the checkpoint step-000000000010 in {place.storage.place} is not used: ")
    assert "checksum is wrong" in place.said[0]


def test_one_without_a_part_or_manifest_is_refused(tmp_path):
    place = Place(LocalStorage(str(tmp_path)))
    place.write(5)
    place.write(10)
    place.write(15, only=1)
    (tmp_path / manifest.folder_name(10) / "part-0-of-2").unlink()
    found = place.find()
    assert found.newest.step == 5
    assert found.torn == ["step-000000000015", "step-000000000010"]
    assert "it was not finished (cannot read" in place.said[0]
    assert "No such file or directory" in place.said[1]


def test_parts_of_another_checkpoint_are_refused(place):
    place.write(5)
    place.write(10)
    strange = place.storage.get(f"{manifest.folder_name(5)}/part-0-of-2")
    place.storage.put(f"{manifest.folder_name(10)}/part-0-of-2", [strange])
    assert place.find().newest.step == 5
    assert "part-0-of-2 belongs to another checkpoint" in place.said[0]


def test_strangers_are_left_alone(place):
    place.storage.put("mine/thesis", [b"x"])
    place.storage.put("step-000000000099/manifest", [b"a manifest of another program"])
    place.write(5)
    assert place.find().newest.step == 5
    assert "not one of Stoker's" in place.said[0]
    assert set(place.storage.folders()) == {"mine", "step-000000000099", "step-000000000005"}


def test_a_torn_newer_one_does_not_count_as_kept(place):
    place.keep = 1
    place.write(5)
    place.write(20)
    place.storage.put("step-000000000020/part-0-of-2", [b"torn"])
    place.keeper = place.make_keeper(place.find())
    place.write(10)
    assert place.folders() == [10, 20]
    place.write(20, of=3)
    assert place.folders() == [20]
    assert place.find().newest.step == 20


def test_a_part_that_failed_leaves_the_older_ones(place):
    place.write(5)
    data = core().make_part(11, 0, STATE[:100])
    place.keeper.event(place.told(10, 0, 2, data, error="cannot write part-0-of-2: No space left on device"))
    assert not place.said
    place.write(10, only=1)
    assert place.said == [
        "the checkpoint after step 10 could not be made, training goes on: "
        "cannot write part-0-of-2: No space left on device"
    ]
    assert place.keeper.settled()
    assert place.find().newest.step == 5
    assert [sorted(record) for record in place.keeper.records] == [
        ["bytes", "parts", "seconds", "stall", "step"], ["error", "step"]]  # fmt: skip


def test_one_that_does_not_come_is_given_up(place):
    place.write(5)
    place.write(10, only=0)
    place.keeper.give_up("it was late")
    assert place.keeper.settled()
    assert place.keeper.records[-1] == {"step": 10, "error": "it was late"}
    assert place.said == ["the checkpoint after step 10 could not be made, training goes on: it was late"]
    assert place.find().newest.step == 5


def test_workers_that_wrote_elsewhere_are_noticed(place):
    data = core().make_part(6, 0, STATE)
    place.keeper.event(place.told(5, 0, 1, data))
    assert "could not be made" in place.said[0]
    assert "part-0-of-1" in place.said[0]


def test_a_place_that_cannot_be_written_is_the_users_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"checkpointDir cannot be used: .*file.*Not a directory"):
        check_writable(open_storage(str(tmp_path / "file" / "below")))
    with pytest.raises(UserError, match="checkpointDir 'nosuch://x' cannot be used: Protocol not known"):
        open_storage("nosuch://x")


def test_a_check_leaves_nothing(place):
    check_writable(place.storage)
    assert place.storage.folders() == []


def test_what_differs_is_said_in_the_users_words():
    before = {"batch_size": 32, "optimizer": {"name": "adam", "groups": [{"lr": 0.1}]}, "program": "a", "seed": 1}
    now = {"batch_size": 64, "optimizer": {"name": "adam", "groups": [{"lr": 0.2}]}, "program": "b", "seed": 1}
    assert manifest.differences(now, before) == [
        "batchSize is 64 and was 32",
        "optimizer.groups[0].lr is 0.2 and was 0.1",
        "the model or its loss is another one",
    ]
    assert manifest.differences(now, now) == []


def test_a_moved_source_line_is_no_other_program():
    program = {"nodes": [{"op": "aten.relu.default", "where": "a.py:1"}], "constants": []}
    moved = {"nodes": [{"op": "aten.relu.default", "where": "a.py:9"}], "constants": []}
    other = {"nodes": [{"op": "aten.gelu.default", "where": "a.py:1"}], "constants": []}
    assert manifest.program_digest(program) == manifest.program_digest(moved)
    assert manifest.program_digest(program) != manifest.program_digest(other)


def test_the_manifest_reads_what_it_wrote():
    told = {"step": 3, "parts": [], "loss": 0.1}
    assert manifest.decode(manifest.encode(told)) == told
    with pytest.raises(WorldError, match="version 4"):
        manifest.decode(manifest.encode(told).replace(b"checkpoint 3", b"checkpoint 4", 1))


def test_folders_of_other_names_are_not_ours():
    assert manifest.is_folder_name(manifest.folder_name(3))
    assert not any(map(manifest.is_folder_name, ("step-3", "step-000000000003.bak", "epoch-000000000003")))


def test_the_page_shows_what_is_written():
    page = (Path(__file__).parent.parent / "docs" / "formats" / "checkpoint.md").read_text()
    blocks = page.split("## Example")[1].split("```")
    part = bytes.fromhex("".join(line[:48] for line in blocks[1].strip().splitlines()))
    assert part == core().make_part(121, 64, bytes([1, 2, 3, 4]))
    assert manifest.decode(blocks[3].strip().encode()) == {"step": 120}
