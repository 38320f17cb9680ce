import pytest
import torch

from umbel.client.state import StateStore


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
