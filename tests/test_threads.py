import threading

import pytest

from foveal.threads import map_in_threads


@pytest.mark.parametrize("count", [0, 1, 2, 31, 5000])
def test_results_come_in_the_order_of_the_items(count):
    assert list(map_in_threads(lambda x: 2 * x, range(count))) == [2 * x for x in range(count)]


def test_what_fails_is_raised():
    with pytest.raises(ZeroDivisionError):
        list(map_in_threads(lambda x: 1 / x, [1, 2, 0, 3]))


def test_few_items_are_shared_too():
    both = threading.Barrier(2, timeout=20)
    assert len(list(map_in_threads(lambda _: both.wait(), [1, 2]))) == 2
