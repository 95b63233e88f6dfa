"""Models of a server: by name, in a folder, opened anew when their files change."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref

import pytest
from tests.serving.conftest import encoded, write_text

from foveal.errors import ModelFileError, SettingsError
from foveal.serving.models import name_models


def refresh(server, times=2):
    """Look at the files so many times; gives the names of what has changed."""

    async def all_of_them():
        return [name for _ in range(times) for name in await server.models.refresh()]

    return asyncio.run(all_of_them())


def test_several_models_by_name(serve, tmp_path):
    cells, ships = write_text(tmp_path / "cells.onnx"), tmp_path / "ships.onnx"
    server = serve(cells, write_text(ships, classes=["ship", "boat"]))
    assert server.ask("/v1/detect", encoded()).json()["model"]["name"] == "cells"
    answer = server.ask("/v1/detect?model=ships", encoded()).json()
    assert answer["model"]["name"] == "ships"
    assert set(answer["images"][0]["names"]) == {"ship", "boat"}
    versions = [model["version"] for model in server.ask("/v1/models").json()["models"]]
    assert len(set(versions)) == 2


def test_names_of_files_and_runs(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    best = run / "best.xml"
    best.touch()
    (tmp_path / "cells.v2.onnx").touch()
    assert list(name_models([run])) == ["run"]
    assert list(name_models([best])) == ["run"]
    assert list(name_models([tmp_path / "cells.v2.onnx"])) == ["cells.v2"]
    with pytest.raises(SettingsError, match="both called run"):
        name_models([run, best])


def test_a_changed_file_is_opened_anew_when_it_is_steady(serve, model):
    server = serve(model)
    before = server.ask("/v1/detect", encoded()).json()["model"]["version"]
    assert refresh(server) == []
    write_text(model, classes=["x", "y"])
    assert refresh(server, 1) == []
    assert refresh(server, 1) == ["cells"]
    answer = server.ask("/v1/detect", encoded()).json()
    assert answer["model"]["version"] != before
    assert set(answer["images"][0]["names"]) == {"x", "y"}


def test_a_file_that_cant_be_opened_changes_nothing_and_is_told_once(serve, model, caplog):
    server = serve(model)
    model.write_text("broken")
    assert refresh(server, 5) == []
    assert caplog.text.count("stays as it was") == 1
    assert str(server.models._copies.name) not in caplog.text
    assert server.ask("/v1/detect", encoded()).status_code == 200
    write_text(model, classes=["x", "y"])
    assert refresh(server) == ["cells"]


def test_requests_on_their_way_are_answered_by_the_model_that_they_came_to(serve, tmp_path):
    path = write_text(tmp_path / "slow.onnx", seconds=0.2)
    server = serve(path, batch=2)
    before = server.models.get().version

    async def change():
        import httpx2

        transport = httpx2.ASGITransport(app=server.app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
            asked = [
                asyncio.create_task(client.post("/v1/detect", content=encoded())) for _ in range(6)
            ]
            await asyncio.sleep(0.05)
            write_text(path, classes=["x", "y"])
            await server.models.refresh()
            await server.models.refresh()
            late = await client.post("/v1/detect", content=encoded())
            return [await each for each in asked], late

    early, late = asyncio.run(change())
    assert [answer.status_code for answer in early] == [200] * 6
    assert {answer.json()["model"]["version"] for answer in early} == {before}
    assert late.json()["model"]["version"] != before


def test_a_model_that_nobody_uses_goes_at_once(serve, model):
    server = serve(model)
    gone = weakref.ref(server.models.get())
    server.ask("/v1/detect", encoded())
    write_text(model, classes=["x", "y"])
    gc.disable()
    try:
        assert refresh(server) == ["cells"]
        until = time.monotonic() + 5
        while gone() is not None and time.monotonic() < until:
            time.sleep(0.01)
        assert gone() is None
    finally:
        gc.enable()


def test_a_folder_of_models_is_followed(serve, tmp_path, caplog):
    folder = tmp_path / "models"
    folder.mkdir()
    write_text(folder / "a.onnx")
    (folder / "b.onnx").write_text("broken")
    (folder / "readme.txt").write_text("no model")
    server = serve(folder=folder)
    assert [model.name for model in server.models.all()] == ["a"]
    assert "b is not served" in caplog.text
    write_text(folder / "c.onnx", classes=["x", "y"])
    (folder / "a.onnx").unlink()
    assert sorted(refresh(server)) == ["a", "c"]
    assert [model.name for model in server.models.all()] == ["c"]
    assert server.ask("/v1/detect?model=a", encoded()).status_code == 404
    assert server.ask("/v1/detect", encoded()).status_code == 200


def test_nothing_to_serve_is_an_error(serve, tmp_path):
    with pytest.raises(ModelFileError, match="holds no model"):
        serve(folder=tmp_path)
    (tmp_path / "cells.onnx").write_text("broken")
    with pytest.raises(ModelFileError, match="is no model"):
        serve(tmp_path / "cells.onnx")


def test_files_can_be_written_over_and_go(server, model):
    model.unlink()
    assert refresh(server) == []
    assert server.ask("/v1/detect", encoded()).status_code == 200
