import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from umbel.tensors import difference, nbytes, pack, read_tensors, unpack, write_tensors

DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
]  # fmt: skip


@settings(deadline=None, max_examples=50)
@given(
    st.dictionaries(
        st.text("abc./", min_size=1, max_size=6),
        st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 4), max_size=3)),
        max_size=5,
    )
)
def test_every_dtype_and_shape_survives_packing(layout):
    tensors = {name: (torch.rand(shape) * 100).to(dtype) for name, (dtype, shape) in layout.items()}
    again = unpack(pack(tensors))
    assert sorted(again) == sorted(tensors)
    for name, tensor in tensors.items():
        assert again[name].dtype == tensor.dtype
        assert torch.equal(again[name], tensor)
    assert pack(again) == pack(tensors)


def test_views_and_tied_tensors_are_written_each_on_its_own():
    buffer = torch.arange(6.0)
    tensors = {"left": buffer[:3], "right": buffer[3:], "whole": buffer, "tied": buffer}
    again = unpack(pack(tensors))
    assert {name: t.tolist() for name, t in again.items()} == {
        name: t.tolist() for name, t in tensors.items()
    }


def test_damaged_blob_is_a_value_error():
    blob = pack({"w": torch.ones(4)})
    for damaged in (b"", b"12345678", blob[:-3], b"\xff" * len(blob)):
        with pytest.raises(ValueError, match="safetensors"):
            unpack(damaged)


def test_file_keeps_tensors_and_metadata_and_leaves_no_temporary(tmp_path):
    path = tmp_path / "model.safetensors"
    write_tensors(path, {"w": torch.ones(2, dtype=torch.bfloat16)}, {"round": "3"})
    tensors, metadata = read_tensors(path)
    assert tensors["w"].dtype == torch.bfloat16 and metadata == {"round": "3"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.safetensors"]
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ValueError, match="safetensors"):
        read_tensors(path)


def test_nbytes_counts_values():
    assert nbytes({"a": torch.zeros(3, dtype=torch.bfloat16), "b": torch.zeros(2)}) == 14


@pytest.mark.parametrize(
    ("tensors", "fault"),
    [
        ({"w": torch.zeros(2)}, ""),
        ({}, "tensor 'w' is missing"),
        ({"w": torch.zeros(2), "v": torch.zeros(1)}, "tensor 'v' is not part of the model"),
        ({"w": torch.zeros(3)}, "tensor 'w' has shape (3,), (2,) is expected"),
        (
            {"w": torch.zeros(2, dtype=torch.float64)},
            "tensor 'w' is torch.float64, torch.float32 is expected",
        ),
    ],
)
def test_difference_says_what_is_wrong(tensors, fault):
    assert difference(tensors, {"w": torch.zeros(2)}) == fault
