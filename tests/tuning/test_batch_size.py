import pytest

from foveal.errors import TrainingError
from foveal.tuning.batch_size import find_batch_size


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
