"""The Open Inference Protocol: JSON and bytes in, padded detections out."""

from __future__ import annotations

import base64
import json
import struct

import numpy as np
import pytest
from tests.inference.scene_stand_ins import draw
from tests.serving.conftest import BOXES, LEVELS, encoded

HEADER = "Inference-Header-Content-Length"
INFER = "/v2/models/cells/infer"


def bytes_tensor(*contents):
    return b"".join(struct.pack("<I", len(each)) + each for each in contents)


def ask(server, tensor, binary=b"", **more):
    document = json.dumps({"inputs": [{"name": "images", **tensor}], **more}).encode()
    headers = {HEADER: str(len(document))} if binary else {}
    return server.ask(INFER, document + binary, headers=headers)


def outputs(answer):
    """The arrays of an answer, however they were sent."""
    assert answer.status_code == 200, answer.text
    length = answer.headers.get(HEADER)
    text = answer.content if length is None else answer.content[: int(length)]
    rest = answer.content[len(text) :]
    types = {"FP32": np.float32, "INT64": np.int64}
    arrays = {}
    for output in json.loads(text)["outputs"]:
        if "data" in output:
            values = np.array(output["data"], types[output["datatype"]])
        else:
            size = output["parameters"]["binary_data_size"]
            values, rest = np.frombuffer(rest[:size], types[output["datatype"]]), rest[size:]
        arrays[output["name"]] = values.reshape(output["shape"])
    assert rest == b""
    return arrays


def test_server_and_model_say_what_they_are(server):
    assert server.ask("/v2").json()["name"] == "foveal"
    assert server.ask("/v2/health/live").json() == {"live": True}
    assert server.ask("/v2/health/ready").json() == {"ready": True}
    said = server.ask("/v2/models/cells").json()
    assert (said["name"], said["platform"]) == ("cells", "foveal_stand-in")
    assert [each["name"] for each in said["outputs"]] == ["boxes", "scores", "labels", "counts"]
    version = said["versions"][0]
    assert server.ask(f"/v2/models/cells/versions/{version}/ready").json()["ready"] is True
    for path in ("/v2/models/ships", "/v2/models/cells/versions/0", "/v2/nothing"):
        answer = server.ask(path)
        assert answer.status_code == 404
        assert set(answer.json()) == {"error"}


def test_files_and_pixels_in_json_and_as_bytes_give_the_same(server):
    image = draw(96, 64, BOXES, LEVELS)
    text = base64.b64encode(encoded()).decode()
    shape, content = [1, 64, 96, 3], bytes_tensor(encoded())
    size = {"binary_data_size": len(content)}
    answers = [
        ask(server, {"shape": [1], "datatype": "BYTES", "data": [text]}, id="7"),
        ask(server, {"shape": [1], "datatype": "BYTES", "parameters": size}, content),
        ask(server, {"shape": shape, "datatype": "UINT8", "data": image.tolist()}),
        ask(
            server,
            {"shape": shape, "datatype": "UINT8", "parameters": {"binary_data_size": image.size}},
            image.tobytes(),
        ),
    ]
    assert answers[0].json()["id"] == "7"
    assert answers[0].json()["model_name"] == "cells"
    for answer in answers:
        found = outputs(answer)
        order = np.argsort(found["boxes"][0, :, 0])
        np.testing.assert_allclose(found["boxes"][0][order], BOXES, atol=1e-4)
        assert found["labels"][0][order].tolist() == [0, 0, 1]
        assert found["counts"].tolist() == [3]


def test_outputs_are_padded_and_those_that_are_wanted(server):
    contents = [encoded(draw(96, 64, BOXES[:n], LEVELS[:n])) for n in (1, 0, 3)]
    content = bytes_tensor(*contents)
    wanted = [
        {"name": "counts", "parameters": {"binary_data": True}},
        {"name": "boxes", "parameters": {"binary_data": True}},
        {"name": "scores"},
    ]
    tensor = {
        "shape": [3],
        "datatype": "BYTES",
        "parameters": {"binary_data_size": len(content)},
    }
    found = outputs(ask(server, tensor, content, outputs=wanted))
    assert list(found) == ["counts", "boxes", "scores"]
    assert found["counts"].tolist() == [1, 0, 3]
    assert found["boxes"].shape == (3, 3, 4)
    assert (found["boxes"][1] == 0).all()
    assert (found["scores"] > 0).sum(axis=1).tolist() == [1, 0, 3]


def test_nothing_found_has_shapes_too(server):
    empty = base64.b64encode(encoded(np.zeros((64, 96, 3), np.uint8))).decode()
    found = outputs(ask(server, {"shape": [1], "datatype": "BYTES", "data": [empty]}))
    assert (found["boxes"].shape, found["scores"].shape) == ((1, 0, 4), (1, 0))
    assert found["counts"].tolist() == [0]


def test_parameters(server):
    tensor = {"shape": [1], "datatype": "BYTES", "data": [base64.b64encode(encoded()).decode()]}
    high = outputs(ask(server, tensor, parameters={"score_threshold": 0.99}))
    assert high["counts"].tolist() == [0]
    only = ask(server, tensor, parameters={"classes": "b", "binary_data_output": True})
    assert HEADER in only.headers
    assert outputs(only)["labels"].tolist() == [[1]]


@pytest.mark.parametrize(
    ("tensor", "binary", "said"),
    [
        ({"shape": [2], "datatype": "BYTES", "data": ["AAAA"]}, b"", "1 elements"),
        ({"shape": [1], "datatype": "BYTES", "data": ["AAAA"]}, b"", "no image by its content"),
        ({"shape": [1], "datatype": "BYTES", "data": [5]}, b"", "base64"),
        ({"shape": [0], "datatype": "BYTES", "data": []}, b"", "at least one image"),
        ({"shape": [], "datatype": "BYTES", "data": []}, b"", "at least one image"),
        ({"shape": [1], "datatype": "FP32", "data": [1.0]}, b"", "is FP32"),
        ({"shape": [1], "datatype": "BYTES"}, b"", "has no data"),
        ({"shape": [1000], "datatype": "BYTES", "data": []}, b"", "at most 64"),
        ({"shape": [1, 4, 4, 3], "datatype": "UINT8", "data": [1, 2]}, b"", "48 values"),
        ({"shape": [1, 1, 1, 3], "datatype": "UINT8", "data": [1, 2, 300]}, b"", "0 to 255"),
        ({"shape": [1, 1, 1, 3], "datatype": "UINT8", "data": ["a"]}, b"", "0 to 255"),
        ({"shape": [1, 4, 4], "datatype": "UINT8", "data": [1]}, b"", "[B, H, W, C]"),
        (
            {"shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 8}},
            struct.pack("<I", 2**31) + b"abcd",
            "ends within element 1",
        ),
        (
            {"shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 9}},
            b"abcd",
            "binary_data_size 9",
        ),
    ],
)
def test_requests_that_are_not_as_expected(server, tensor, binary, said):
    answer = ask(server, tensor, binary)
    assert 400 <= answer.status_code < 500
    assert said in answer.json()["error"]


@pytest.mark.parametrize("header", ["x", "-1", "99999", "9" * 40])
def test_a_length_of_the_header_that_cant_be(server, header):
    answer = server.ask(INFER, b"{}", headers={HEADER: header})
    assert (answer.status_code, HEADER in answer.json()["error"]) == (400, True)
    answer = server.ask(INFER, b'{"inputs": 5}')
    assert (answer.status_code, "inputs" in answer.json()["error"]) == (400, True)


def test_whatever_the_page_of_the_interface_refers_to_is_there(server):
    document = server.ask("/openapi.json").json()

    def references(value):
        for each in value.values() if isinstance(value, dict) else value:
            if isinstance(each, dict | list):
                yield from references(each)
        if isinstance(value, dict) and isinstance(value.get("$ref"), str):
            yield value["$ref"]

    for reference in references(document):
        place = document
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]
    body = document["paths"]["/v2/models/{name}/infer"]["post"]["requestBody"]["content"]
    properties = body["application/json"]["schema"]["properties"]
    assert "score_threshold" in properties["parameters"]["properties"]
    assert properties["inputs"]["items"]["required"] == ["name", "shape", "datatype"]
