"""What the changes to examples do, against what is computed by hand from the same draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from umbel.data.shard import UNLABELLED, Shard
from umbel.data.texts import TEXT
from umbel.errors import BadInput
from umbel.paradigms.semi_supervised.augmentation import PADDING, Tokens, Vectors
from umbel.paradigms.semi_supervised.mixed import Mixed
from umbel.paradigms.semi_supervised.pictures import Pictures
from umbel.schema import Schema

SIDE, COUNT = 16, 64
PLACE = (torch.arange(SIDE) + 0.5) / SIDE * 2 - 1
"""Of the columns, and of the rows, from -1 to 1."""
COLUMNS = (PLACE.expand(SIDE, SIDE) / 4 + 0.5)[None, None]
ROWS = COLUMNS.mT
"""Images that are brighter the further to the right, or the further down."""
IMAGES = torch.rand(COUNT, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(11))


def draws(seed=5):
    return torch.Generator().manual_seed(seed)


def many(image):
    return image.repeat(COUNT, 1, 1, 1)


def bare(**settings):
    """Only what is asked for."""
    return Pictures(**{"shift": 0.0, "operations": 0, "cutout": 0.0, "colours": False} | settings)


def expect_place(found, wanted):
    """Of columns and rows as found, where they should be of columns and rows; what came from
    beyond the border is left out."""
    wanted = wanted / 4 + 0.5
    inside = (wanted - 0.5).abs() <= (1 - 1 / SIDE) / 4
    assert inside.float().mean() > 0.5
    torch.testing.assert_close(found[:, 0][inside], wanted[inside], atol=1e-5, rtol=0)


def test_nothing_asked_for_changes_nothing():
    for way in (bare().weak, bare().strong):
        torch.testing.assert_close(way(IMAGES, draws()), IMAGES, atol=1e-5, rtol=0)


def test_a_shift_is_by_the_share_that_is_drawn():
    drawn = torch.rand(COUNT, 3, generator=draws()) * 2 - 1
    for number, image in enumerate((COLUMNS, ROWS)):
        found = Pictures(shift=0.25).weak(many(image), draws())
        # A quarter of a side is half of one that is two long.
        by = (drawn[:, number] * 0.5)[:, None, None]
        place = PLACE.expand(COUNT, SIDE, SIDE)
        expect_place(found, (place if number == 0 else place.mT) + by)
        assert by.abs().max() > 0.45 and by.min() < -0.1 and by.max() > 0.1


def test_a_shift_by_whole_pixels_moves_them(monkeypatch):
    """Two to the left and four up; what is beyond the border is as in a mirror."""
    told = torch.tensor([[0.75, 1.0, 0.0]])
    monkeypatch.setattr(torch, "rand", lambda *shape, generator: told)
    found = Pictures(shift=0.25).weak(IMAGES[:1], draws())
    wanted = torch.cat([IMAGES[:1, :, 4:], IMAGES[:1, :, -4:].flip(2)], dim=2)
    wanted = torch.cat([wanted[..., 2:], wanted[..., -2:].flip(3)], dim=3)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_half_of_the_images_are_mirrored():
    found = bare(flip=True).weak(IMAGES, draws())
    apart = [(found - way).abs().amax(dim=(1, 2, 3)) < 1e-5 for way in (IMAGES, IMAGES.flip(3))]
    assert bool((apart[0] ^ apart[1]).all())
    assert 0.3 < float(apart[1].float().mean()) < 0.7


def test_a_square_is_hidden_by_grey():
    found = bare(cutout=0.5).strong(IMAGES * 0.4, draws())
    generator = draws()
    torch.rand(COUNT, 3, generator=generator)  # What a shift draws comes first.
    drawn = torch.rand(COUNT, 3, 1, generator=generator)[:, :, 0]
    largest = 0
    for image, before, (size, row, column) in zip(found, IMAGES * 0.4, drawn, strict=True):
        hidden = (image == 0.5).all(dim=0)
        reach = float(size) * 0.5 / 2 * SIDE
        rows, columns = (
            [n for n in range(SIDE) if abs(n + 0.5 - float(at) * SIDE) < reach]
            for at in (row, column)
        )
        wanted = torch.zeros(SIDE, SIDE, dtype=torch.bool)
        wanted[np.ix_(rows, columns)] = True
        assert torch.equal(hidden, wanted)
        torch.testing.assert_close(image[:, ~hidden], before[:, ~hidden], atol=1e-5, rtol=0)
        largest = max(largest, len(rows))
    assert 6 <= largest <= 8  # Half of the side is the most.


def test_one_change_of_shape_by_hand():
    """Each turns, leans or moves columns and rows as its matrix says."""
    generator = draws()
    torch.rand(COUNT, 3, generator=generator)
    kind = torch.randint(5, (COUNT,), generator=generator).tolist()
    level = (torch.rand(COUNT, generator=generator) * 2 - 1).tolist()
    right, down = PLACE.expand(SIDE, SIDE), PLACE.expand(SIDE, SIDE).mT
    columns, rows = [], []
    for what, much in zip(kind, level, strict=True):
        angle = much * math.pi / 6
        turned = (
            right * math.cos(angle) - down * math.sin(angle),
            right * math.sin(angle) + down * math.cos(angle),
        )
        ways = {
            0: turned,
            1: (right + 0.3 * much * down, down),
            2: (right, down + 0.3 * much * right),
            3: (right + 0.6 * much, down),
            4: (right, down + 0.6 * much),
        }
        columns.append(ways[what][0])
        rows.append(ways[what][1])
    assert set(kind) == set(range(5))
    for image, wanted in ((COLUMNS, columns), (ROWS, rows)):
        found = bare(operations=1).strong(many(image), draws())
        expect_place(found, torch.stack(wanted))


def test_a_quarter_turn_is_exact(monkeypatch):
    """With a turn of at most a right angle, and all that is drawn being the most of that."""
    monkeypatch.setattr("umbel.paradigms.semi_supervised.pictures.TURN", math.pi / 2)
    monkeypatch.setattr(torch, "rand", lambda *shape, generator: torch.ones(shape))
    monkeypatch.setattr(torch, "randint", lambda most, shape, generator: torch.zeros(shape).long())
    found = bare(operations=1).strong(IMAGES, draws())
    torch.testing.assert_close(found, torch.rot90(IMAGES, dims=(2, 3)), atol=1e-4, rtol=0)


def test_one_change_of_colour_by_hand():
    generator = draws()
    torch.rand(COUNT, 3, generator=generator)
    kind = torch.randint(10, (COUNT,), generator=generator).tolist()
    level = (torch.rand(COUNT, generator=generator) * 2 - 1).tolist()
    found = bare(operations=1, colours=True).strong(IMAGES, draws())
    seen = set()
    for image, what, much, after in zip(IMAGES, kind, level, found, strict=True):
        if what < 5:
            continue
        grey, steps = image.mean(), round(4 + 4 * (1 - abs(much))) - 1
        ways = {
            5: image * (1 + 0.9 * much),
            6: grey + (image - grey) * (1 + 0.9 * much),
            7: (image * steps).round() / steps,
            8: torch.where(image >= abs(much), 1 - image, image),
            9: 1 - image,
        }
        torch.testing.assert_close(after, ways[what].clamp(0, 1), atol=1e-4, rtol=0)
        seen.add(what)
    assert seen == {5, 6, 7, 8, 9}


VECTORS = torch.randn(4000, 3, generator=draws(1)) * torch.tensor([1.0, 10.0, 0.0]) + 5
WORDS = torch.arange(40).repeat(500, 1)
TEXTS = torch.where(torch.arange(60) < 40, torch.arange(60), PADDING).repeat(500, 1)


@pytest.mark.parametrize(
    ("changes", "inputs"),
    [(Pictures(flip=True), IMAGES), (Vectors().fitted(VECTORS), VECTORS), (Tokens(), TEXTS)],
)
def test_the_generator_says_it_all_and_examples_differ(changes, inputs):
    same = inputs[:1].expand_as(inputs)
    for way in (changes.weak, changes.strong):
        found = way(same, draws())
        assert torch.equal(found, way(same, draws()))
        assert not torch.equal(found, way(same, draws(6)))
        assert len(found.flatten(1).unique(dim=0)) > len(found) / 4
    assert not torch.equal(changes.weak(same, draws()), changes.strong(same, draws()))


def test_noise_is_in_units_of_each_feature_over_the_client():
    """And so the same for a batch of one as for all."""
    changes = Vectors(noise=0.1, dropout=0.0).fitted(VECTORS)
    for way, noise in ((changes.weak, 0.1), (changes.strong, 0.4)):
        added = way(VECTORS, draws()) - VECTORS
        wanted = noise * torch.tensor([1.0, 10.0, 0.0])
        torch.testing.assert_close(added.std(dim=0), wanted, rtol=0.06, atol=0)
        torch.testing.assert_close(added.mean(dim=0), torch.zeros(3), rtol=0, atol=0.3)
        alone = torch.cat([way(row[None], draws(n)) - row for n, row in enumerate(VECTORS[:500])])
        torch.testing.assert_close(alone.std(dim=0), wanted, rtol=0.15, atol=0)


def test_features_are_hidden_by_the_clients_mean():
    found = Vectors(noise=0.1, dropout=0.2).fitted(VECTORS).strong(VECTORS[:1000] + 90, draws())
    hidden = found == VECTORS.mean(dim=0)
    for share in hidden.float().mean(dim=0).tolist():
        assert 0.15 < share < 0.25
    assert float(found[~hidden].min()) > 20


@pytest.mark.parametrize(("way", "share"), [("weak", 0.1), ("strong", 0.4)])
def test_tokens_are_left_out_and_the_rest_closes_up(way, share):
    found = getattr(Tokens(weak_dropout=0.1, strong_dropout=0.4), way)(TEXTS, draws())
    assert found.shape == TEXTS.shape
    left = found != PADDING
    assert float(left.sum()) / (500 * 40) == pytest.approx(1 - share, abs=0.02)
    for row in found[:50].tolist():
        words = [token for token in row if token != PADDING]
        # As they stood, each once, and padding after them alone.
        assert words == sorted(set(words)) and row == words + [PADDING] * (60 - len(words))


def test_a_text_keeps_a_token():
    one = torch.tensor([[7, PADDING, PADDING]]).repeat(200, 1)
    assert torch.equal(Tokens(strong_dropout=0.9).strong(one, draws()), one)


# As a method is given them.


def test_images_of_other_values_than_0_to_1_keep_their_colours():
    """Standardised ones: none is cut off, and what is hidden has the mean of all."""
    images = IMAGES * 8 - 5
    settings = {"shift": 0.0, "operations": 2}
    shown = Pictures(**settings, cutout=0.0).fitted(images).strong(images, draws())
    torch.testing.assert_close(shown, bare(operations=2).strong(images, draws()))
    assert shown.min() < -4 and shown.max() > 2
    hidden = Pictures(**settings, cutout=1.0).fitted(images).strong(images, draws())
    grey = float(images.mean())
    assert 0.05 < (hidden == grey).float().mean() < 0.5 and not (shown == grey).any()
    for own in (IMAGES, IMAGES[:0]):
        assert Pictures().fitted(own) == Pictures()


def test_a_batch_is_changed_by_what_its_client_has():
    schema = Schema("classification", (3,), "float32", classes=("a", "b"))
    mixed = Mixed(lambda schema: torch.nn.Identity(), ratio=1, augmentation="auto")
    mixed.build(schema)
    y = np.full(len(VECTORS), UNLABELLED)
    for scale in (1.0, 30.0):
        x = VECTORS * scale
        mixed.begin(mixed.prepare(Shard("client-0", schema, {"x": x.numpy(), "y": y})))
        wanted = Vectors().fitted(x)
        for way in ("weak", "strong"):
            found = getattr(mixed, way)(x[:1], draws())
            torch.testing.assert_close(found, getattr(wanted, way)(x[:1], draws()))
            assert not torch.equal(found, x[:1])


def test_texts_are_taken_for_texts():
    mixed = Mixed(lambda schema: torch.nn.Identity(), ratio=1, augmentation="auto")
    mixed.build(Schema("classification", (), TEXT, classes=("a", "b")))
    mixed.begin({"x": TEXTS, "y": torch.full((500,), UNLABELLED)})
    assert torch.equal(mixed.strong(TEXTS, draws()), Tokens().strong(TEXTS, draws()))


@pytest.mark.parametrize(
    ("shape", "dtype", "choice", "suited"),
    [
        ((), TEXT, "image", "text"),
        ((), TEXT, "vector", "text"),
        ((3,), "float32", "image", "vector"),
    ],
)
def test_what_suits_other_examples_is_refused(shape, dtype, choice, suited):
    mixed = Mixed(lambda schema: torch.nn.Identity(), ratio=1, augmentation={"name": choice})
    with pytest.raises(BadInput, match=f"{choice} is for other examples; these take {suited}"):
        mixed.build(Schema("classification", shape, dtype, classes=("a", "b")))
