import pytest
import torch
from flwr.app import ConfigRecord, RecordDict

from umbel.messages import INLINE_LIMIT, Envelope, split_record


@pytest.mark.parametrize("elements", [0, 10, INLINE_LIMIT])
def test_envelope_comes_back_as_it_was_sent(elements):
    sent = Envelope(
        {"round": 4, "config": {"mu": 0.1}},
        {
            "model": {"body.weight": torch.rand(elements), "steps": torch.tensor(3)},
            "context": {"mean": torch.ones(2, dtype=torch.bfloat16)},
        },
    )
    got = Envelope.from_record(sent.to_record())
    assert got.header["round"] == 4 and got.header["config"] == {"mu": 0.1}
    for group, tensors in sent.groups.items():
        for name, tensor in tensors.items():
            assert torch.equal(got.groups[group][name], tensor)
            assert got.groups[group][name].dtype == tensor.dtype


def test_small_messages_are_one_record_and_large_ones_two():
    small = Envelope({}, {"model": {"w": torch.zeros(10)}}).to_record()
    large = Envelope({}, {"model": {"w": torch.zeros(INLINE_LIMIT)}}).to_record()
    assert len(small) == 1 and len(large) == 2


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (RecordDict(), "no header"),
        (RecordDict({"umbel": ConfigRecord({"header": "{"})}), "not JSON"),
        (RecordDict({"umbel": ConfigRecord({"header": "[]"})}), "protocol None"),
        (RecordDict({"umbel": ConfigRecord({"header": '{"protocol": 99}'})}), "protocol 99"),
        (
            RecordDict({"umbel": ConfigRecord({"header": '{"protocol": 1}', "tensors": "x"})}),
            "not bytes",
        ),
    ],
)
def test_other_messages_are_value_errors(record, reason):
    with pytest.raises(ValueError, match=reason):
        split_record(record)
