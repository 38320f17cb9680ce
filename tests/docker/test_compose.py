"""`docker-compose up` as a user has it: it runs, again, with more clients, with other data."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from compose import ROOT, build_image, docker, simulated, wait_for

ONE_SHOT = {"keys", "shards"}
CLIENTS = ["client-0", "client-1", "client-2"]


def accuracy(records: list[dict]) -> float:
    return records[-1]["metrics"]["federated"]["accuracy"]


def started(made, service: str) -> str:
    return docker("inspect", "--format", "{{.State.StartedAt}}", made.id(service))


def taken(container: str, times: int = 1) -> list[str]:
    """The shards that a container has claimed one after another, if it has so many times."""
    found = re.findall(r"took the shard (\S+)", docker("logs", container))
    return found if len(found) >= times else []


def layers(image: str) -> list[str]:
    return json.loads(docker("image", "inspect", "--format", "{{json .RootFS.Layers}}", image))


def test_the_demo_learns_the_digits_to_the_bytes_of_a_simulation(plain, tmp_path):
    run = plain.runs()[0]
    said = plain.logs("run")
    assert "finished: 10 rounds" in said and "federated" in said, said
    assert accuracy(plain.records(run)) > 0.9
    assert plain.failures(run) == []
    assert plain.sha256(run) == simulated("examples/digits.toml", 3, tmp_path / "run")
    with urllib.request.urlopen(f"http://{plain.page}/runs/{run}", timeout=60) as page:
        assert plain.sha256(run) in page.read().decode()


def test_another_experiment_with_clients_that_stay(plain, tmp_path):
    """MNIST, above 97 %: the clients read their new shards, and are not started again."""
    before = [started(plain, name) for name in CLIENTS]
    plain.up(experiment="examples/mnist.toml")
    plain.ended()
    assert accuracy(plain.records()) > 0.97
    assert plain.sha256() == simulated("examples/mnist.toml", 3, tmp_path / "run")
    assert [started(plain, name) for name in CLIENTS] == before


def test_a_pretrained_backbone_is_fine_tuned(plain, tmp_path):
    """EfficientNet-Lite0, which the image has: the output layer alone travels."""
    plain.up(experiment="examples/transfer.toml")
    plain.ended()
    assert accuracy(plain.records()) > 0.8
    assert all(record["bytes_up"] < 3 * 60_000 for record in plain.records())
    assert plain.sha256() == simulated("examples/transfer.toml", 3, tmp_path / "run")


def test_few_labels_are_enough(plain, tmp_path):
    """The shards hold few labels, and how many pseudo-labels were right is told as in simulation."""
    plain.up(experiment="examples/few-labels.toml")
    plain.ended()
    assert accuracy(plain.records()) > 0.85
    assert plain.sha256() == simulated("examples/few-labels.toml", 3, tmp_path / "run")
    last = plain.records()[-1]["metrics"]["train"]
    assert 0.8 < last["right_count"] / last["kept_count"] <= 1


def test_graphs_of_neighbours_need_few_labels(plain, tmp_path):
    """The image has PyTorch Geometric."""
    plain.up(experiment="examples/graph.toml")
    plain.ended()
    assert accuracy(plain.records()) > 0.88
    assert plain.sha256() == simulated("examples/graph.toml", 3, tmp_path / "run")


def test_up_again_is_a_new_run_with_the_same_shards(plain, quick):
    plain.up(experiment="tests/docker/quick.toml")
    plain.ended()
    first = plain.runs()
    plain.up()
    plain.ended()
    assert plain.runs()[:-1] == first
    assert [plain.sha256(run) for run in plain.runs()[-2:]] == [quick, quick]
    assert "quick.toml: 3 shards" in plain.logs("shards").splitlines()[-1]


def test_ten_more_clients_take_a_shard_each(plain, tmp_path):
    plain.up("--scale", "client=10", experiment="tests/docker/quick.toml")
    plain.ended()
    everybody = {f"client-{index}" for index in range(13)}
    assert {row["client"] for row in plain.records()[0]["clients"]} == everybody
    assert plain.failures() == []
    assert plain.sha256() == simulated("tests/docker/quick.toml", 13, tmp_path / "run")
    some = plain.ids("client")[:4]
    docker("kill", *some)
    docker("start", *some)
    wait_for(lambda: all(taken(found, times=2) for found in some), "four claims anew")
    held = {taken(found)[-1] for found in plain.ids("client")}
    assert held == everybody - set(CLIENTS), "two containers share a shard"
    docker("rm", "--force", *plain.ids("client"))


def test_a_clients_data_are_in_no_container_that_lives_on(plain):
    seen: dict[str, set[str]] = {}
    for service in [*CLIENTS, *ONE_SHOT, "superlink", "run", "report"]:
        mounts = json.loads(docker("inspect", "--format", "{{json .Mounts}}", plain.id(service)))
        for mount in mounts:
            kept = mount.get("Name", mount["Source"]).removeprefix(f"{plain.name}_")
            seen.setdefault(kept, set()).add(service)
    for name in CLIENTS:
        number = name.removeprefix("client-")
        assert seen[f"data-{number}"] - ONE_SHOT == {name}
        assert seen[f"state-{number}"] == {name}
    assert seen["key-run"] - ONE_SHOT == {"run"}
    assert seen["authority"] == {"keys"}


@pytest.mark.parametrize("service", ["superlink", "client-0", "report"])
def test_no_container_can_do_more_than_it_must(plain, service):
    found = docker(
        "exec",
        plain.id(service),
        "sh",
        "-c",
        "id -u; touch /src/x /opt/x 2>&1; ls -ld /umbel/certs",
    ).splitlines()
    assert found[0] != "0"
    assert sum("Read-only file system" in line for line in found) == 2
    status = docker("exec", plain.id(service), "cat", "/proc/self/status")
    assert "CapEff:\t0000000000000000" in status and "NoNewPrivs:\t1" in status


def test_the_page_is_read_only_and_knows_no_other_file(plain):
    def status(path: str, method: str = "GET") -> int:
        request = urllib.request.Request(f"http://{plain.page}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    assert status("/") == 200
    assert status("/", "POST") == 405
    assert status("/runs/..%2f..%2fetc%2fpasswd") == 404
    assert status(f"/runs/{plain.runs()[0]}/model.safetensors") == 404


def test_a_mistake_is_a_line_of_the_service_that_found_it(plain):
    with pytest.raises(AssertionError):
        plain.up(experiment="examples/nowhere.toml")
    assert "umbel: examples/nowhere.toml: no such file" in plain.logs("shards")
    assert docker("inspect", "--format", "{{.State.ExitCode}}", plain.id("shards")) == "2"


def test_every_long_lived_container_ends_at_once_when_told(plain):
    services = ["superlink", "client-1", "report"]
    docker("stop", "--time", "60", *(plain.id(name) for name in services))
    for name in services:
        code = docker("inspect", "--format", "{{.State.ExitCode}}", plain.id(name))
        assert code in ("0", "143"), f"{name} ended with {code}: {plain.logs(name)}"


def test_a_change_of_umbels_code_keeps_the_layers_below(image, tmp_path):
    files = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for file in [*files, ".dockerignore", "Dockerfile"]:
        target = tmp_path / "checkout" / file
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / file).is_file():
            shutil.copy2(ROOT / file, target)
    with (tmp_path / "checkout" / "errors.py").open("a") as module:
        module.write("# changed\n")
    tag = f"{image}-changed"
    build_image(tmp_path / "checkout", tag)
    try:
        before, after = layers(image), layers(tag)
        same = [one == other for one, other in zip(before, after, strict=False)]
        # The code, its installation, and the data sets: the dependencies are below.
        assert len(same) - sum(same) <= 3
    finally:
        docker("rmi", "--no-prune", tag, code=None)


def test_the_image_alone_simulates(image):
    said = docker(
        "run", "--rm", "--network", "none", image,
        "simulate", "/src/examples/digits.toml", "--set", "experiment.rounds=1", "--json",
    )  # fmt: skip
    assert json.loads(said.splitlines()[-1])["status"] == "finished"


def test_the_image_holds_nothing_of_the_checkout_but_the_package(image):
    listed = docker("run", "--rm", "--entrypoint", "ls", image, "-A", "/src").split()
    assert not {".git", ".venv", "tests", "docs", "benchmarks", "runs"} & set(listed)
    assert Path(ROOT / "tests").is_dir()
