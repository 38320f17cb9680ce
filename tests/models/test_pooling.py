"""Max pooling is PyTorch's own, with gradients and without."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import max_pool2d

from umbel.models.pooling import HalvingMax

SIDES = st.integers(min_value=2, max_value=9)


@given(st.integers(min_value=0, max_value=3), SIDES, SIDES, st.integers(min_value=0))
def test_it_is_the_largest_of_each_square(count, height, width, seed):
    generator = torch.Generator().manual_seed(seed % 2**32)
    # Of few values, so that there are equal ones in a square.
    images = torch.randint(-2, 3, (count, 2, height, width), generator=generator).float()
    expected = max_pool2d(images, 2)
    with torch.no_grad():
        assert torch.equal(HalvingMax()(images), expected)


def test_a_gradient_goes_to_the_first_of_equal_ones():
    images = torch.zeros(1, 1, 4, 4, requires_grad=True)
    HalvingMax()(images).sum().backward()
    expected = torch.zeros(4, 4)
    expected[::2, ::2] = 1
    assert torch.equal(images.grad[0, 0], expected)


def test_a_value_that_is_no_number_stays():
    images = torch.zeros(1, 1, 2, 2)
    images[0, 0, 1, 0] = torch.nan
    with torch.no_grad():
        assert HalvingMax()(images).isnan().all()
