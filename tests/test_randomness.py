import torch
from hypothesis import given
from hypothesis import strategies as st

from umbel.randomness import derive_seed, numpy_generator, torch_generator, torch_seeded

PARTS = st.tuples(
    st.integers(0, 2**31), st.integers(0, 1000), st.text(max_size=5), st.text(max_size=5)
)


@given(PARTS, PARTS)
def test_seeds_differ_wherever_a_part_differs(one, other):
    def seed(parts):
        return derive_seed(parts[0], round=parts[1], client=parts[2], purpose=parts[3])

    assert (seed(one) == seed(other)) == (one == other)
    assert 0 <= seed(one) < 2**63


def test_generators_repeat_themselves_and_not_each_other():
    def draws(client):
        return torch.rand(4, generator=torch_generator(1, purpose="p", client=client)).tolist()

    assert draws("a") == draws("a") != draws("b")
    again = [numpy_generator(1, purpose="p").random() for _ in range(2)]
    assert again[0] == again[1]


def test_seeded_block_leaves_the_callers_random_state_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with torch_seeded(1, purpose="model"):
        inside = torch.rand(3)
    assert torch.equal(torch.rand(3), expected)
    with torch_seeded(1, purpose="model"):
        assert torch.equal(torch.rand(3), inside)
