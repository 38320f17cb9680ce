"""The experiment file: what is accepted, and the line that each fault gives."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umbel.errors import BadInput
from umbel.experiment import Experiment, check, load

GOOD = """
[experiment]
name = "digits"
rounds = 3
seed = 7

[data]
source = "digits"
clients = 4
partition = { name = "dirichlet", alpha = 0.3 }

[model]
name = "mlp"
hidden = [16]

[client]
optimizer = { name = "sgd", lr = 0.1 }
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "exp.toml"

    def write(text):
        path.write_text(text)
        return path

    return write


def faults(act):
    with pytest.raises(BadInput) as caught:
        act()
    assert caught.value.exit_code == 2
    assert all("\n" not in line for line in caught.value.faults)
    return caught.value.faults


def test_a_good_file_says_what_it_says(file):
    experiment = load(file(GOOD))
    assert experiment.experiment.rounds == 3
    assert experiment.data.partition.parameters == {"alpha": 0.3}
    assert experiment.model.parameters == {"hidden": [16]}
    assert experiment.client.batch_size == 32, "a default"


def test_an_empty_file_is_all_defaults(file):
    assert load(file("")) == Experiment()


def test_what_is_written_reads_back_the_same(file):
    experiment = load(file(GOOD))
    assert load(file(experiment.to_toml())) == experiment
    assert Experiment.from_json(experiment.to_json()) == experiment


@settings(deadline=None, max_examples=40)
@given(
    rounds=st.integers(1, 10**6), seed=st.integers(0, 2**63 - 1), clients=st.integers(1, 10**6),
    lr=st.floats(1e-9, 1e3), held_out=st.floats(0, 1, exclude_max=True),
)  # fmt: skip
def test_numbers_survive_toml_and_json_exactly(rounds, seed, clients, lr, held_out):
    import tomllib

    experiment = Experiment(
        experiment={"rounds": rounds, "seed": seed},
        data={"clients": clients, "held_out": held_out},
        client={"optimizer": {"name": "sgd", "lr": lr}},
    )
    assert Experiment(**tomllib.loads(experiment.to_toml())) == experiment
    assert Experiment.from_json(experiment.to_json()) == experiment


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[experiment]\nround = 3", "experiment.round: unknown key; did you mean 'rounds'? valid: "),
        ("[experiments]", "experiments: unknown key; did you mean 'experiment'?"),
        ("[experiment]\nrounds = 0", "experiment.rounds: must be greater than or equal to 1, found 0"),
        ('[experiment]\nrounds = "ten"', "experiment.rounds: must be a valid integer, found 'ten'"),
        ("[experiment]\nrounds = 2.5", "experiment.rounds: must be a valid integer, found 2.5"),
        ("[experiment]\nrounds = true", "experiment.rounds: must be a valid integer, found True"),
        ("[experiment]\nseed = -1", "experiment.seed: must be greater than or equal to 0, found -1"),
        ("[data]\nclients = 0", "data.clients: must be greater than or equal to 1, found 0"),
        ("[data]\nlabelled_clients = 0.0", "data.labelled_clients: must be greater than 0, found 0.0"),
        ("[server]\ndeadline = inf", "server.deadline: must be a finite number, found inf"),
        ("[paradigm]\nname = 'fixmatch'\nweight = inf", "paradigm.weight: must be a finite number, found inf"),
        ("[paradigm]\nname = 'mixmatch'\nalpha = inf", "paradigm.alpha: must be a finite number, found inf"),
        ("[paradigm]\nname = 'svm'\nmargin = nan", "paradigm.margin: must be a finite number, found nan"),
        ("[paradigm]\nname = 'fixmatch'\naugmentation = { name = 'vector', noise = inf }", "paradigm.augmentation.noise: must be a finite number, found inf"),
        ("[strategy]\nname = 'rscfed'\nbeta = inf", "strategy.beta: must be a finite number, found inf"),
        ("[strategy]\nname = 'fedprox'\nmu = { start = 1.0, end = -inf }", "strategy.mu.end: must be a finite number, found -inf"),
        ("[client]\noptimizer = { name = 'sgd', lr = inf }", "client.optimizer.lr: must be a finite number, found inf"),
        ("[data]\npartition = { name = 'sizes', examples = [3, inf] }", "data.partition.examples: must be a finite number, found inf"),
        ("[data]\nheld_out = 1.0", "data.held_out: must be less than 1, found 1.0"),
        ("[strategy]\nname = 'fedavgg'", "did you mean 'fedavg'?"),
        ("[strategy]\nname = 'fedavg'\nfractoin = 0.5", "strategy.fractoin: unknown parameter; did you mean 'fraction'?"),
        ("[strategy]\nname = 'fedavg'\nfraction = 1.5", "strategy.fraction: 1.5 is not in (0, 1]"),
        ("[strategy]\nname = 'fedavg'\nweighting = 'size'", "strategy.weighting: must be 'examples', 'uniform', 'loss', 'inverse-variance' or 'label-entropy', found 'size'"),
        ("[strategy]\nname = 'no.such:Thing'", "cannot be imported"),
        ("[model]\nname = 'lenett'", "did you mean 'lenet'?"),
        ("model = 3", "model: must be a table, found 3"),
        ("[paradigm]\nname = 'supervized'", "did you mean 'supervised'?"),
        ("[paradigm]\nname = 'supervised'\nlabel_smoothing = 2.0", "paradigm.label_smoothing: 2.0 is not in [0, 1)"),
        ("[data]\npartition = { name = 'dirichlet', alpha = 'x' }", "data.partition.alpha: must be a valid number, found 'x'"),
        ("[client]\noptimizer = { name = 'sdg' }", "did you mean 'sgd'?"),
        ("[client]\noptimizer = { name = 'sgd', lr = 0 }", "client.optimizer.lr: must be more than 0, found 0"),
        ("[client]\nepochs = 1\nsteps = 3", "client: epochs and steps are both given; keep one"),
        ("[server]\nmin_updates = 12", "server.min_updates 12 is more than data.clients 10"),
        ("[server]\nmismatched = 'ignore'", "server.mismatched: must be 'refuse' or 'leave-out', found 'ignore'"),
        ("[evaluation]\nstop = { metric = 'loss' }", "neither patience nor target"),
        ("[evaluation]\nfederated = false\ncentral = false\nstop = { patience = 2 }", "evaluation: stop needs federated or central evaluation"),
        ("[strategy]\nnam = 'fedavg'", "strategy.nam: unknown key; did you mean 'name'? valid: name"),
        ("[strategy]\nmu = 0.5", "strategy.mu: unknown parameter; "),
        ("[simulation]\nengine = 'dask'", "simulation.engine: must be 'in-process' or 'ray', found 'dask'"),
    ],
)  # fmt: skip
def test_each_fault_is_one_line_that_names_file_key_and_what_is_valid(file, text, line):
    path = file(text)
    [fault] = faults(lambda: load(path))
    assert fault.startswith(f"{path}: ") and line in fault


def test_every_fault_of_a_file_is_told_at_once(file):
    found = faults(lambda: load(file("[experiment]\nrounds = 0\nsed = 1\n[data]\nclients = 0")))
    assert len(found) == 3


def test_broken_toml_names_the_line(file):
    [fault] = faults(lambda: load(file("[experiment]\nrounds = \n")))
    assert "not TOML" in fault and "line 2" in fault


def test_a_file_that_is_missing_or_no_text(tmp_path):
    assert "no such file" in faults(lambda: load(tmp_path / "none.toml"))[0]
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in faults(lambda: load(tmp_path / "binary.toml"))[0]
    assert "cannot be read" in faults(lambda: load(tmp_path))[0]


def test_overrides_win_and_may_say_anything_toml_can(file):
    overrides = [
        "experiment.rounds=9", "strategy.name=fedprox", "strategy.mu=0.5", "model.hidden=[3, 4]",
        'data.partition={name="pathological", classes=2}', "experiment.name=other",
    ]  # fmt: skip
    experiment = load(file(GOOD), overrides)
    assert experiment.experiment.rounds == 9 and experiment.experiment.name == "other"
    assert experiment.strategy.name == "fedprox" and experiment.strategy.parameters == {"mu": 0.5}
    assert experiment.model.parameters == {"hidden": [3, 4]}
    assert experiment.data.partition.name == "pathological"


def test_parameters_alone_belong_to_the_default_name(file):
    experiment = load(file("[model]\nhidden = [3]"), ["client.optimizer.lr=0.1"])
    assert experiment.model.name == "mlp" and experiment.model.parameters == {"hidden": [3]}
    assert experiment.client.optimizer.name == "sgd"
    assert experiment.client.optimizer.parameters == {"lr": 0.1}


@pytest.mark.parametrize("override", ["rounds", "=3", "experiment..rounds=3", ".x=1"])
def test_an_override_without_key_or_value_is_refused(file, override):
    assert f"--set {override}" in faults(lambda: load(file(GOOD), [override]))[0]


def test_relative_data_paths_are_seen_from_the_files_folder(file, tmp_path):
    (tmp_path / "mine").mkdir()
    experiment = load(file("[data]\nsource = 'mine/a.csv'\ntest = 'mine'"))
    assert experiment.data.source == str(tmp_path / "mine" / "a.csv")
    assert experiment.data.test == str(tmp_path / "mine")
    assert load(file("[data]\nsource = 'digits'")).data.source == "digits"


def test_a_string_stands_for_a_name_without_parameters():
    assert Experiment(strategy="fedprox").strategy.parameters == {}
    assert Experiment(data={"partition": "iid"}).data.partition.name == "iid"


def test_check_finds_what_only_the_registry_knows():
    check(Experiment())
    assert "fedavg" in faults(lambda: check(Experiment(strategy="fedagv")))[0]


def test_with_clients_keeps_everything_else():
    experiment = Experiment(client={"steps": 3}, server={"min_updates": 2})
    changed = experiment.with_clients(5)
    assert changed.data.clients == 5 and changed.client.steps == 3
    assert "min_updates" in faults(lambda: experiment.with_clients(1))[0]


@pytest.mark.parametrize(
    ("strategy", "said"),
    [
        ('{ name = "krum", byzantine = 4 }', "strategy.byzantine: 4 among 10 updates"),
        ('{ name = "bulyan", byzantine = 2 }', "4f + 3 = 11"),
        ('{ name = "krum", byzantine = 2, fraction = 0.5 }', "2 among 5 updates"),
        ('{ name = "trimmed_mean", trim = 0.5 }', "strategy.trim: 0.5 is not in"),
        ('{ name = "trimmed_mean", trim = 0.05 }', "none would be cut"),
        ('{ name = "multi_krum", keep = 10 }', "strategy.keep: 10"),
        ('{ name = "krum", byzantine = -1 }', "strategy.byzantine: -1 is less than 0"),
        ('"fltrust"', "set data.server"),
    ],
)
def test_a_robust_rule_is_checked_against_the_cohort(file, strategy, said):
    with pytest.raises(BadInput) as refused:
        load(file(f"strategy = {strategy}"))
    assert said in str(refused.value) and len(refused.value.faults) == 1
