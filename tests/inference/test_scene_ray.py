"""Bands on a Ray that is started here."""

from __future__ import annotations

import socket
import sys

import numpy as np
import pytest
from tests.inference.bands import TASKS, Job, Worker

from foveal.errors import FovealError, MissingExtraError
from foveal.inference import scene_ray
from foveal.inference.scene_jobs import BandTask, detect_one_by_one
from foveal.inference.scene_ray import LOCAL, check_ray, detect_on_ray


def test_without_ray_the_line_to_install_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'foveal\[ray\]'"):
        list(detect_on_ray(Job(), TASKS, address=LOCAL))
    with pytest.raises(MissingExtraError, match=r"pip install 'foveal\[ray\]'"):
        check_ray(LOCAL)


@pytest.mark.parametrize("host", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_an_address_is_tried_before_ray_waits_for_it(monkeypatch, host):
    monkeypatch.setattr(scene_ray, "find_spec", lambda name: name)
    check_ray(LOCAL)
    check_ray("auto")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        address = host.format(server.getsockname()[1])
        with pytest.raises(FovealError, match=f"--ray {address}: no Ray cluster.*nothing answers"):
            check_ray(address)
        server.listen()
        check_ray(address)


@pytest.mark.parametrize("address", ["", "nowhere", "127.0.0.1:", "127.0.0.1:x", "a:99999", ":1"])
def test_what_is_no_address_is_said(monkeypatch, address):
    monkeypatch.setattr(scene_ray, "find_spec", lambda name: name)
    with pytest.raises(FovealError, match=r"this is no address.*10\.0\.0\.1:6379, auto"):
        check_ray(address)


@pytest.mark.slow
def test_a_local_ray_finds_what_one_process_finds():
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        expected = {each.task: each.arrays for each in detect_one_by_one(Worker(None), TASKS)}
        job = Job((BandTask(2, 2),))
        found = list(detect_on_ray(job, TASKS, address=LOCAL, jobs=3))  # more than cores
        assert [str(each.error) for each in found if each.error] == [
            "scene 2 can't be read at band 2"
        ]
        found = [each for each in found if not each.error]
        tasks = {each.task for each in found}
        assert {task for task in tasks if task.scene < 2} == set(TASKS[:10])
        assert tasks < set(TASKS)
        for each in found:
            np.testing.assert_array_equal(each.arrays["boxes"], expected[each.task]["boxes"])
        with pytest.raises(FovealError, match=r"cells\.safetensors: no such file.*same paths"):
            list(detect_on_ray(Job(opens=False), TASKS, address=LOCAL))
    finally:
        ray.shutdown()
