import os

import pytest
import torch

from umbel.client.state import StateStore
from umbel.errors import Declined


def test_a_round_reads_what_was_kept_before_it(tmp_path):
    store = StateStore(tmp_path)
    for round in (1, 4, 9):
        store.save("run", "client-0", round, {"w": torch.tensor([float(round)])})
    assert store.load("run", "client-0", before=100)["w"].item() == 9
    assert store.load("run", "client-0", before=9)["w"].item() == 4
    assert store.load("run", "client-0", before=4) == {}, "only the last two are kept"


def test_runs_and_clients_do_not_see_each_other(tmp_path):
    store = StateStore(tmp_path)
    store.save("run", "client-0", 1, {"w": torch.ones(1)})
    assert store.load("run", "client-1", before=5) == {}
    assert store.load("other", "client-0", before=5) == {}


@pytest.mark.parametrize("name", ["..", "../x", "a/b", "", ".hidden", "a" * 300])
def test_names_that_could_leave_the_folder_are_refused(tmp_path, name):
    store = StateStore(tmp_path)
    with pytest.raises(ValueError, match="folder"):
        store.load(name, "client-0", before=1)
    with pytest.raises(ValueError, match="folder"):
        store.save("run", name, 1, {"w": torch.ones(1)})


def test_the_runs_longest_away_make_room_for_the_current_one(tmp_path):
    store = StateStore(tmp_path, max_bytes=10_000)
    for number, run in enumerate(["first", "second", "third"]):
        store.save(run, "client-0", 1, {"w": torch.zeros(1000)})
        for path in (tmp_path / run).rglob("*"):
            os.utime(path, (number, number))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["second", "third"]
    store.save("second", "client-0", 2, {"w": torch.zeros(500)})
    assert [path.name for path in tmp_path.iterdir()] == ["second"]


def test_a_state_over_the_limit_is_not_kept(tmp_path):
    with pytest.raises(Declined, match="limits.max_state_bytes"):
        StateStore(tmp_path, max_bytes=1000).save("run", "client-0", 1, {"w": torch.zeros(1000)})
    assert not list(tmp_path.rglob("*.safetensors"))


def test_what_a_killed_client_left_half_written_goes(tmp_path):
    store = StateStore(tmp_path)
    store.save("run", "client-0", 1, {"w": torch.ones(1)})
    (tmp_path / "run" / "client-0" / ".2.safetensors.77.tmp").touch()
    store.save("run", "client-0", 2, {"w": torch.ones(1)})
    assert not list(tmp_path.rglob("*.tmp"))


def test_features_give_way_to_what_cannot_be_made_anew(tmp_path):
    store = StateStore(tmp_path, max_bytes=10_000)
    store.keep_features("run", "client-0", "abc", {"x": torch.ones(1000)})
    assert torch.equal(store.features("run", "client-0", "abc")["x"], torch.ones(1000))
    assert store.features("run", "client-0", "other") is None
    store.save("run", "client-0", 1, {"w": torch.zeros(2000)})
    assert store.features("run", "client-0", "abc") is None
    assert len(store.load("run", "client-0", before=2)["w"]) == 2000
    store.keep_features("run", "client-0", "large", {"x": torch.ones(1500)})
    assert store.features("run", "client-0", "large") is None, "over half of what may be kept"
