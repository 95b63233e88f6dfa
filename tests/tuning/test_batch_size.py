import pytest

from foveal.errors import TrainingError
from foveal.tuning.batch_size import choose_batch, find_batch_size


@pytest.mark.parametrize(
    ("room", "start", "expected"), [(1, 1, 1), (7, 1, 4), (8, 1, 8), (50, 6, 48), (10**9, 1, 64)]
)
def test_doubles_until_it_no_longer_fits(room, start, expected):
    tried = []

    def fits(images):
        tried.append(images)
        return images <= room

    assert find_batch_size(fits, start=start, max_batch=64) == expected
    assert tried == sorted(set(tried))


def test_no_room_at_all():
    with pytest.raises(TrainingError, match=r"preparation\.shorter"):
        find_batch_size(lambda _: False)


@pytest.mark.parametrize(
    ("seconds", "images", "batch", "why"),
    [
        (lambda n: 0.1 * n, 1000, 8, "16 bring 10, too little more"),
        (lambda n: 1.0, 1000, 32, "fewer than 16 steps"),
        (lambda n: 1.0 if n <= 16 else None, 1000, 16, "32 do not fit"),
        (lambda n: 1.0 if n <= 2 else None, 1000, 2, "4 do not fit"),
        (lambda n: 1.0, 50, 8, "an epoch of 50 images"),
    ],
)
def test_the_batch_to_train_with(seconds, images, batch, why):
    choice = choose_batch(seconds, images=images)
    assert choice.batch == batch
    assert why in choice.text
    assert f"Batches of {batch} images" in choice.text


def test_no_batch_at_all():
    with pytest.raises(TrainingError, match="batch of 1 fits"):
        choose_batch(lambda _: None, images=100)
