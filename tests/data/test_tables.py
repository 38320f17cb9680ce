from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from umbel.data import Dataset, load_dataset
from umbel.errors import BadInput


def csv(folder: Path, text: str, name: str = "hearts.csv") -> str:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return str(folder / name)


def table(folder: Path, **columns: list[object]) -> str:
    parquet.write_table(pa.table(columns), folder / "hearts.parquet")
    return str(folder / "hearts.parquet")


def test_csv(tmp_path: Path) -> None:
    dataset = load_dataset(
        csv(tmp_path, "age,sick,bmi,smokes\n70,yes,30.5,true\n40,no,20,false\n33,,21,true\n"),
        label="sick",
    )
    assert dataset.name == "hearts"
    assert dataset.schema.features == ("age", "bmi", "smokes")
    assert dataset.schema.classes == ("no", "yes")
    assert dataset.train["x"].dtype == np.float32
    assert dataset.train["x"].tolist() == [[70, 30.5, 1], [40, 20, 0], [33, 21, 1]]
    assert dataset.train["y"].tolist() == [1, 0, -1]


def test_parquet_gives_what_csv_gives(tmp_path: Path) -> None:
    path = table(tmp_path, age=[70, 40, 33], label=["yes", "no", None], bmi=[30.5, 20.0, 21.0])
    dataset = load_dataset(path)
    assert dataset.schema.features == ("age", "bmi")
    assert dataset.train["y"].tolist() == [1, 0, -1]


@pytest.mark.parametrize(
    ("labels", "classes", "codes"),
    [
        ([10, 9, None], ("9", "10"), [1, 0, -1]),
        ([1.0, 0.0, None], ("0", "1"), [1, 0, -1]),
        ([True, False, None], ("false", "true"), [1, 0, -1]),
        ([2, 0, -1], ("0", "2"), [1, 0, -1]),
    ],
)
def test_label_types(
    tmp_path: Path, labels: list[object], classes: tuple[str, ...], codes: list[int]
) -> None:
    dataset = load_dataset(table(tmp_path, age=[1, 2, 3], label=labels))
    assert dataset.schema.classes == classes
    assert dataset.train["y"].tolist() == codes


def test_numbers_in_a_csv_sort_as_numbers_and_keep_their_spelling(tmp_path: Path) -> None:
    dataset = load_dataset(csv(tmp_path, "f,label\n1,10\n2,9\n3,010\n"))
    assert set(dataset.schema.classes) == {"9", "10", "010"}
    assert dataset.schema.classes[0] == "9"


def test_owners_come_from_the_group_column(tmp_path: Path) -> None:
    path = csv(tmp_path, "ward,f,label\n07,1,a\n7,2,b\n")
    dataset = load_dataset(f"{path}?group=ward")
    assert dataset.groups is not None
    assert dataset.groups.tolist() == ["07", "7"]
    assert dataset.schema.features == ("f",)


def test_a_folder_of_train_and_test(tmp_path: Path) -> None:
    csv(tmp_path, "f,label\n1,a\n2,b\n", "train.csv")
    csv(tmp_path, "f,label\n1,c\n", "test.csv")
    dataset = load_dataset(str(tmp_path))
    assert dataset.schema.classes == ("a", "b", "c")
    assert dataset.test is not None
    assert dataset.test["y"].tolist() == [2]


def test_given_classes_make_the_codes_of_two_sites_agree(tmp_path: Path) -> None:
    path = csv(tmp_path, "f,label\n1,c\n2,a\n3,\n")
    assert load_dataset(path).train["y"].tolist() == [1, 0, -1]
    dataset = load_dataset(path, classes=["a", "b", "c"])
    assert dataset.train["y"].tolist() == [2, 0, -1]
    assert dataset.schema.classes == ("a", "b", "c")


def refused(source: str, *mentions: str, **options: object) -> None:
    with pytest.raises(BadInput) as caught:
        load_dataset(source, **options)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message and caught.value.exit_code == 2
    for mention in mentions:
        assert mention in message


def test_a_label_outside_the_classes(tmp_path: Path) -> None:
    path = csv(tmp_path, "f,label\n1,cat\n2,dgo\n")
    refused(path, path, "row 2", "'dgo'", "'dog'", classes=["cat", "dog"])


def test_a_missing_label_column(tmp_path: Path) -> None:
    path = csv(tmp_path, "age,diagnosis\n1,a\n")
    refused(path, path, "'label'", "diagnosis", "--label")
    refused(path, "'diagnoses'", "did you mean 'diagnosis'", label="diagnoses")
    refused(f"{path}?group=ward", "'ward'", "group=", label="diagnosis")


@pytest.mark.parametrize(
    ("text", "mentions"),
    [
        ("age,bmi,label\n1,2,a\n3,,b\n", ("row 2", "'bmi' is empty")),
        ("a,b,label\n1,2,x\n3,,x\n4,5,x\n6,,x\n", ("row 2, and 1 more: column 'b' is empty;",)),
        ("a,b,label\n1,,x\n,3,x\n,,x\n4,5,x\n", ("row 1, and 2 more: column 'b', or another,",)),
        ("a,b,label\n1,,x\n2,,x\n", ("'b' holds None, not a number",)),
        ("age,sex,label\n1,2,a\n3,female,b\n", ("row 2", "'sex'", "'female'")),
        ("age,label\n1,a\nnan,b\n", ("row 2", "not finite")),
        ("age,label\n", ("holds no examples",)),
        ("label\na\nb\n", ("no column besides the label",)),
        ("age,label\n1,a\n1,2,3,4\n", ("not a readable csv",)),
        ("", ("not a readable csv",)),
    ],
)
def test_bad_csv(tmp_path: Path, text: str, mentions: tuple[str, ...]) -> None:
    path = csv(tmp_path, text)
    refused(path, path, *mentions)


def test_bad_parquet(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no")
    refused(str(tmp_path / "a.parquet"), "a.parquet", "not a readable parquet")
    refused(table(tmp_path, f=[1, 2], label=[0.5, 1.0]), "row 1", "label 0.5")
    refused(table(tmp_path, f=[[1], [2]], label=["a", "b"]), "'f'", "not a number")


def test_bad_paths(tmp_path: Path) -> None:
    refused(str(tmp_path / "none.csv"), "none.csv", "no such file")
    refused("dijits", "did you mean 'digits'")
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(str(empty), str(empty), "holds no data")
    refused(csv(tmp_path, "x", "notes.docx"), "notes.docx", "cannot be read as data")
    csv(tmp_path / "many", "f,label\n1,a\n", "a.csv")
    csv(tmp_path / "many", "f,label\n1,a\n", "b.csv")
    refused(str(tmp_path / "many"), "holds 2 data files (a.csv, b.csv)")


def test_parts_with_other_columns(tmp_path: Path) -> None:
    csv(tmp_path / "d", "f,label\n1,a\n", "train.csv")
    csv(tmp_path / "d", "g,label\n1,a\n", "test.csv")
    refused(str(tmp_path / "d"), "test.csv", "has the columns g")


def test_a_users_own_factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_hearts.py").write_text(
        "from umbel.data import load_dataset\n"
        "def hearts():\n    return load_dataset('digits')\n"
        "def wrong():\n    return 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert isinstance(load_dataset("my_hearts:hearts"), Dataset)
    refused("my_hearts:wrong", "returned int")
    refused("my_hearts:none", "my_hearts:none")
