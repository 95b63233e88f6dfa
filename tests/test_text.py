import pytest

from foveal.text import counted


@pytest.mark.parametrize(
    ("count", "noun", "expected"),
    [
        (0, "image", "0 images"),
        (1, "image", "1 image"),
        (1234, "image", "1,234 images"),
        (3, "epoch", "3 epochs"),
        (1, "class", "1 class"),
        (2, "class", "2 classes"),
        (3, "box", "3 boxes"),
        (4, "batch", "4 batches"),
    ],
)
def test_counts(count, noun, expected):
    assert counted(count, noun) == expected
