from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest
from run_folders import (
    HOSTILE,
    make_record,
    make_run,
    write_confusion,
    write_records,
    write_subgraphs,
)

from umbel.errors import BadInput, UmbelError
from umbel.result import Result
from umbel.rounds import natural
from umbel.server.report import write_report
from umbel.server.report_clients import clients, quantile, unique_labels
from umbel.server.report_page import json_block


def page_without_scripts(path: Path) -> str:
    """The page as a reader sees it: without the scripts, which hold the plots and Plotly."""
    page = path.read_text(encoding="utf-8")
    return re.sub(r"<script[ >].*?</script>", "", page, flags=re.DOTALL)


def plots(path: Path) -> dict[str, Any]:
    page = path.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page)
    assert found is not None
    loaded: dict[str, Any] = json.loads(found[1])
    return loaded


def test_the_page_tells_what_the_run_was(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", clients=3, rounds=6)
    path = write_report(folder)
    assert path == folder / "report.html"
    page = page_without_scripts(path)
    for fact in ("digits", "strategy fedavg", "seed 7", "2.13.0", "1.41.0", "128 x 64", "8,192"):
        assert fact in page
    assert Result.open(folder).sha256 in page
    assert "weight of layer 1 is not finite" in page
    assert [file.name for file in folder.iterdir() if file.name.endswith(".tmp")] == []


def test_every_plot_has_its_place_and_its_data(tmp_path: Path) -> None:
    path = write_report(make_run(tmp_path, clients=3, rounds=6))
    figures = plots(path)
    page = page_without_scripts(path)
    assert list(figures) == [
        *("learning-0", "learning-1", "clients-0", "clients-1", "clients-2"),
        *("traffic-0", "traffic-1", "time-0"),
    ]
    assert all(f'id="{id}"' in page for id in figures)
    assert [trace["name"] for trace in figures["learning-0"]["data"]] == [
        *("federated", "central", "training"),
    ]
    summed = figures["traffic-1"]["data"][0]["y"]
    assert summed[-1] == 35_000 * (3 * 6 - 2)


def test_confusion_of_classes(tmp_path: Path) -> None:
    folder = make_run(tmp_path, clients=3)
    write_confusion(folder, [HOSTILE, "client-0", "client-1"], classes=4)
    told = json.loads((folder / "confusion.json").read_text())
    both, each = (plots(write_report(folder))[f"confusion-{k}"] for k in (0, 1))
    assert "document.title='owned'" not in page_without_scripts(folder / "report.html")
    [heat] = both["data"]
    assert heat["text"] == Result.open(folder).confusion.total.tolist()
    assert heat["z"][0] == [None] * 4, "of a class without examples there is no share"
    assert heat["z"][1][1] == pytest.approx(heat["text"][1][1] / sum(heat["text"][1]), abs=1e-4)
    assert heat["y"][:3] == ["class 0", "class 1", "class 2"]
    buttons = each["layout"]["updatemenus"][0]["buttons"]
    labels = [button["label"] for button in buttons]
    assert labels[1:] == ["client-0", "client-1"] or labels[:2] == ["client-0", "client-1"]
    assert all("<" not in label for label in [*labels, *heat["x"]])
    [row] = [row for row in told["clients"] if row["client"] == "client-1"]
    [button] = [button for button in buttons if button["label"] == "client-1"]
    [matrix] = button["args"][0]["text"]
    assert [matrix[true][said] for true, said, _ in row["counts"]] == [n for *_, n in row["counts"]]


def test_parts_of_graphs(tmp_path: Path) -> None:
    folder = make_run(tmp_path, clients=3)
    names = [HOSTILE, *(f"client-{k}" for k in range(13))]
    write_subgraphs(folder, names, classes=4)
    figure = plots(write_report(folder))["graphs-0"]
    assert "document.title='owned'" not in page_without_scripts(folder / "report.html")
    found, shown = Result.open(folder).subgraphs, figure["layout"]["annotations"]
    assert len(shown) == 12 and "2 more clients are in subgraphs.json" in page_without_scripts(
        folder / "report.html"
    )
    titles = [note["text"] for note in shown]
    first = titles[0].startswith("<b>client-0</b>") or titles[1].startswith("<b>client-0</b>")
    assert first and not any("<script" in text for text in titles)
    same = found.homophily("client-0")
    assert any("40 of 90 nodes" in text and f"homophily {same:.2f}" in text for text in titles)
    links, *nodes = figure["data"]
    drawn = sorted(found.parts, key=natural)[:12]
    assert len(links["x"]) == 3 * sum(len(found.parts[name].edges) for name in drawn)
    assert sum(len(trace["x"]) for trace in nodes) == 12 * 40
    assert [trace["name"] for trace in nodes[1:]] == [
        *(f"class {k}" for k in range(1, 4)),
        "no class told",
    ]
    told = sum(int((found.parts[name].y == 1).sum()) for name in drawn)
    assert len(nodes[1]["x"]) == told


def test_what_clients_told_of_their_graphs(tmp_path: Path) -> None:
    folder = make_run(tmp_path, clients=3)
    environment = json.loads((folder / "environment.json").read_text())
    told = {HOSTILE: {"links": 7}, "client-10": {"homophily": 0.25, "links": 9}, "client-2": {}}
    (folder / "environment.json").write_text(json.dumps(environment | {"graphs": told}))
    figures = plots(write_report(folder))
    [edges], [same] = figures["graphs-0"]["data"], figures["graphs-1"]["data"]
    assert edges["y"] == [7, 9] and edges["x"][1] == "client-10" and "<" not in edges["x"][0]
    assert (same["x"], same["y"]) == (["client-10"], [0.25])
    page = page_without_scripts(folder / "report.html")
    assert "Edges of each client" in page and "Homophily of each client" in page
    assert "document.title='owned'" not in page


def write_partition(folder: Path, held: dict[str, list[list[int]]], classes: int) -> dict[str, Any]:
    """Write partition.json of 300 clients, of whom some are counted; the report's figure of it."""
    rows = [{"client": name, "counts": counts} for name, counts in held.items()]
    names = [HOSTILE, *(f"class {k}" for k in range(1, classes))]
    told = {"classes": names, "population": 300, "clients": rows}
    (folder / "partition.json").write_text(json.dumps(told))
    figure: dict[str, Any] = plots(write_report(folder))["partition-0"]
    return figure


def test_examples_of_each_class_at_each_client(tmp_path: Path) -> None:
    folder = make_run(tmp_path, clients=3)
    held = {"client-10": [[-1, 4], [0, 2]], "client-2": [[0, 3], [2, 5]]}
    figure = write_partition(folder, held, classes=3)
    assert [(bars["x"], bars["y"]) for bars in figure["data"]] == [
        (["client-2", "client-10"], [3, 2]),
        (["client-2", "client-10"], [5, 0]),
        (["client-2", "client-10"], [0, 4]),
    ]
    names = [bars["name"] for bars in figure["data"]]
    assert names[0].startswith("&lt;script") and names[1:] == ["class 2", "no label"]
    assert figure["layout"]["barmode"] == "stack"
    page = page_without_scripts(folder / "report.html")
    assert "Examples of each class at each client" in page
    assert "What is held out counts, too. 2 of 300 clients, evenly spread." in page
    assert "document.title='owned'" not in page


def test_of_many_classes_at_many_clients_the_largest_are_drawn(tmp_path: Path) -> None:
    """Of 25 classes the smallest, 0 to 4, are one; ties go to the first."""
    folder = make_run(tmp_path, clients=3)
    rows = [[code, 1 + code] for code in range(25)]
    held = {f"client-{k}": rows for k in range(40)}
    figure = write_partition(folder, held, classes=25)
    names = [bars["name"] for bars in figure["data"]]
    assert names == [*(f"class {k}" for k in range(5, 25)), "5 other classes"]
    assert figure["data"][-1]["y"] == [1 + 2 + 3 + 4 + 5] * 40
    assert len({bars["marker"]["color"] for bars in figure["data"]}) == 21
    assert not figure["layout"]["xaxis"]["showticklabels"]
    page = page_without_scripts(folder / "report.html")
    assert "The 20 largest of 25 classes by themselves." in page


@pytest.mark.parametrize("pair", [[3, 1], [-2, 1], [0, -1], [0, "x"], [0]])
def test_damaged_counts_are_told_by_file(tmp_path: Path, pair: list[Any]) -> None:
    folder = make_run(tmp_path, clients=3)
    with pytest.raises(UmbelError, match=r"partition\.json: is damaged"):
        write_partition(folder, {"a": [pair]}, classes=3)


def test_of_many_classes_the_commonest_mistakes_are_shown(tmp_path: Path) -> None:
    folder = make_run(tmp_path, clients=3)
    write_confusion(folder, ["client-0"], classes=31)
    figures = plots(write_report(folder))
    assert "confusion-1" not in figures, "one client is all of them"
    [bars] = figures["confusion-0"]["data"]
    [row] = json.loads((folder / "confusion.json").read_text())["clients"]
    wrong = sorted((n for true, said, n in row["counts"] if true != said), reverse=True)
    assert bars["x"] == wrong[:20] and all(" told as " in text for text in bars["y"])


def test_hostile_names_and_reasons_stay_text(tmp_path: Path) -> None:
    path = write_report(make_run(tmp_path, hostile=True))
    page = path.read_text(encoding="utf-8")
    assert "document.title='owned'" not in page_without_scripts(path)
    assert "<img" not in page_without_scripts(path)
    assert len(re.findall(r"</script>", page)) == 3
    labels = [trace["name"] for trace in plots(path)["clients-0"]["data"]]
    assert labels[0].startswith("&lt;script&gt;")


def test_the_page_allows_no_request_and_no_other_script(tmp_path: Path) -> None:
    path = write_report(make_run(tmp_path))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', path.read_text("utf-8"))
    assert policy is not None
    rules = html.unescape(policy[1])
    assert rules.startswith("default-src 'none';")
    assert rules.count("'sha256-") == 2
    assert not re.search(r"<[^>]*\s(src|href)=|<(link|iframe|object)", page_without_scripts(path))


@pytest.mark.parametrize(
    ("count", "kind"), [(3, "scatter"), (8, "scatter"), (9, "heatmap"), (200, "heatmap")]
)
def test_few_clients_are_lines_and_many_a_heat_map(count: int, kind: str) -> None:
    figure = clients([make_record(1, [f"client-{index}" for index in range(count)])])[0]
    assert figure.data[0]["type"] == kind
    if kind == "heatmap":
        assert figure.data[0]["y"][2] == "client-2"
        assert len(figure.data[0]["z"]) == count


def test_a_crowd_is_its_spread() -> None:
    names = [f"client-{index}" for index in range(1000)]
    figure = clients([make_record(round, names) for round in (1, 2)])[0]
    assert [trace["name"] for trace in figure.data if trace.get("showlegend", True)] == [
        *("lowest to highest", "middle half", "median"),
    ]
    assert len(json.dumps(figure.data)) < 2000


def test_a_client_that_failed_leaves_a_gap() -> None:
    names = [f"client-{index}" for index in range(10)]
    records = [make_record(1, names), make_record(2, names, failing="client-4")]
    records[1]["clients"].append({"client": "client-4", "status": "failed", "examples": 0})
    loss, *_, examples = clients(records)
    assert loss.data[0]["z"][4][1] is None
    assert examples.data[0]["y"][4] == 40 + 17 * 4


def test_a_run_that_died_early_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "environment.json").write_text('{"run": "a", "status": "running"}')
    page = page_without_scripts(write_report(tmp_path))
    assert "no model yet" in page
    assert plots(tmp_path / "report.html") == {}


def test_a_truncated_record_and_values_that_are_not_finite_do_no_harm(tmp_path: Path) -> None:
    folder = make_run(tmp_path, rounds=3)
    record = make_record(2, ["client-0"])
    record["clients"][0]["loss"] = record["loss"] = float("nan")
    write_records(folder, [make_record(1, ["client-0"]), record])
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"round": 3, "lo')
    assert plots(write_report(folder))["clients-0"]["data"][0]["x"] == [1]


def test_counts_of_examples_are_no_metric(tmp_path: Path) -> None:
    record = make_record(1, ["client-0"])
    record["metrics"] = {"federated": {"examples": 360, "rmse": 0.5, "loss": 0.25}}
    folder = make_run(tmp_path)
    write_records(folder, [record])
    assert "Federated rmse" in page_without_scripts(write_report(folder))
    titles = re.findall(r"<h3>(.* by round)</h3>", page_without_scripts(folder / "report.html"))
    assert titles == ["Rmse by round", "Loss by round", "Bytes by round"]


def test_what_travels_may_differ_by_direction(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    tensor = {"name": "head", "shape": [], "dtype": "torch.bfloat16"}
    (folder / "environment.json").write_text(json.dumps({"travels": {"up": [tensor]}}))
    page = page_without_scripts(write_report(folder))
    assert "<th>Direction</th>" in page
    assert "<td>scalar</td><td>bfloat16</td>" in page


def test_many_failures_are_cut_with_a_word_about_it(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    failures = [{"client": f"client-{index}", "reason": "gone"} for index in range(1500)]
    write_records(folder, [{"round": 1, "failures": failures}])
    page = page_without_scripts(write_report(folder))
    assert page.count("<td>gone</td>") == 1000
    assert "and 500 more in metrics.jsonl" in page


def test_a_folder_without_a_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no run folder"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_same_run_gives_the_same_page(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    first = write_report(folder).read_bytes()
    assert write_report(folder).read_bytes() == first


def test_labels_are_told_apart() -> None:
    names = ["a" * 40 + str(index) + "a" * 40 for index in range(3)]
    assert len(set(unique_labels(names))) == 3
    assert unique_labels([""]) == ["(no name)"]
    assert "<" not in unique_labels([HOSTILE])[0]


def test_json_cannot_close_its_element() -> None:
    text = json_block({"name": "</script><!--"})
    assert "<" not in text
    assert json.loads(text) == {"name": "</script><!--"}


def test_quantiles() -> None:
    assert [quantile([4.0, 1.0, 3.0, 2.0], share) for share in (0, 0.5, 1)] == [1, 2.5, 4]
