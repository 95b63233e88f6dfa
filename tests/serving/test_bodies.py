"""What comes in: counted while it streams, of a kind that is taken, and never a path."""

from __future__ import annotations

import base64
import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from tests.serving.conftest import encoded, write_text


def said(answer, status):
    """What a problem says."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert set(document) == {"type", "title", "status", "detail"}
    assert "/tmp" not in document["detail"]
    assert "foveal-" not in document["detail"]
    return document["detail"]


def huge_png(width=60_000, height=60_000):
    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 1000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def frames(kind):
    content = BytesIO()
    pictures = [Image.new("RGB", (20, 20), color) for color in ("red", "blue")]
    pictures[0].save(content, kind, save_all=True, append_images=pictures[1:])
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "status", "expected"),
    [
        (huge_png(), 413, "60,000 x 60,000 pixels"),
        (frames("GIF"), 415, "is GIF"),
        (frames("TIFF"), 422, "2 pages"),
        (frames("WEBP"), 422, "2 frames"),
        (frames("PNG"), 422, "2 frames"),
        (b"<VRTDataset></VRTDataset>", 415, "no image by its content"),
        (b"\xff\xd8\xff", 422, "broken"),
        (b"\x89PNG\r\n\x1a\n", 422, "image 1"),
        (b"II*\0" + b"\xff" * 60, 422, "image 1"),
        (b"", 422, "The body is empty"),
        (encoded(kind="JPEG")[:400], 422, "broken or cut short"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else str(value),
)
def test_what_is_no_image_for_us(server, content, status, expected):
    assert expected in said(server.ask("/v1/detect", content), status)
    assert server.ask("/v1/detect", encoded()).status_code == 200


def test_the_pixel_limit_is_said_before_decoding(serve, model):
    server = serve(model, pixels=6000)
    assert "at most 6,000 pixels" in said(server.ask("/v1/detect", encoded()), 413)
    small = encoded(np.zeros((60, 100, 3), np.uint8))
    assert server.ask("/v1/detect", small).status_code == 200


def test_a_body_is_counted_by_its_head_and_while_it_streams(serve, model):
    server = serve(model, body=1000)
    sent = 0

    async def pieces():
        nonlocal sent
        for _ in range(1000):
            sent += 100
            yield b"x" * 100

    assert "more than 1,000 bytes" in said(server.ask("/v1/detect", b"x" * 1001), 413)
    assert "more than 1,000 bytes" in said(server.ask("/v1/detect", pieces()), 413)
    assert sent <= 1200
    form = server.ask("/v1/detect", files=[("i", ("a.png", b"x" * 2000))])
    assert "--max-body" in said(form, 413)
    assert server.ask("/v1/detect", encoded()).status_code == 200


def test_bodies_on_their_way_together_have_a_limit_too(serve, tmp_path, monkeypatch):
    server = serve(write_text(tmp_path / "slow.onnx", seconds=0.1), batch=1)
    content = encoded()
    monkeypatch.setattr(
        type(server.limits), "bytes_at_once", property(lambda limits: 2 * len(content))
    )
    answers = server.ask_all([("/v1/detect", content, {})] * 5)
    assert sorted(answer.status_code for answer in answers) == [200] * 2 + [503] * 3
    assert server.ask("/v1/detect", content).status_code == 200


@pytest.mark.parametrize(
    ("content", "kind", "status", "expected"),
    [
        (b"{", "application/json", 422, "The JSON is not as expected"),
        (b"[" * 100_000, "application/json", 422, "The JSON is not as expected"),
        (b'{"images": []}', "application/json", 422, "images"),
        (b'{"images": [1]}', "application/json", 422, "images.0"),
        (b'{"images": [{"path": "/etc/passwd"}]}', "application/json", 422, "images.0"),
        (b'{"images": ["/etc/passwd"]}', "application/json", 422, "not base64"),
        (b'{"images": ["http://localhost/a.png"]}', "application/json", 422, "not opened"),
        (b'{"images": ["AAAA"]}', "application/json; charset=utf-8", 415, "no image"),
        (b"nothing", "multipart/form-data", 400, "boundary"),
        (b"nothing", "multipart/form-data; boundary=x", 400, ""),
        (b"--x--\r\n", "multipart/form-data; boundary=x", 422, "holds no file"),
        (
            b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\n/etc/passwd\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
            422,
            "holds no file",
        ),
    ],
)
def test_forms_and_json_that_are_not_as_expected(server, content, kind, status, expected):
    answer = server.ask("/v1/detect", content, headers={"content-type": kind})
    assert expected in said(answer, status)


def test_a_compressed_body_is_refused(server):
    answer = server.ask("/v1/detect", encoded(), headers={"content-encoding": "gzip"})
    assert "is compressed" in said(answer, 415)


def test_more_images_than_ever_wait(serve, model):
    server = serve(model, queue=2)
    text = base64.b64encode(encoded()).decode()
    assert "at most 2" in said(server.ask("/v1/detect", json={"images": [text] * 3}), 413)
    form = server.ask("/v1/detect", files=[("i", ("a.png", encoded()))] * 3)
    assert "Maximum number of files is 2" in said(form, 400)
    assert server.ask("/v1/detect", json={"images": [text] * 2}).status_code == 200


def test_names_are_names_only(server):
    from foveal.serving.uploads import upload_name

    given = ["a/b/c.png", "C:\\x\\c.png", "..", "", None, "a\x1b[2Jb", "x" * 500, "/"]
    assert [upload_name(name, 1) for name in given[:5]] == ["c.png", "c.png", *["image 2"] * 3]
    assert "\x1b" not in upload_name(given[5], 0)
    assert len(upload_name(given[6], 0)) <= 120
    assert upload_name(given[7], 0) == "image 1"
