"""Texts, steps and images that must be refused with their place, cheaply, and without harm to the next request."""

import base64
import io
import json
import struct
import tracemalloc
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import TestClient

from models.contract.manifest import ImagesColumn
from service.app import create_app
from service.inference.pictures import PictureError, read_picture
from service.settings import Settings
from tests.sequences import IMAGES, SIDE, publish_sequences

JSON = {"Content-Type": "application/json"}
MAX_LENGTH, MAX_STEPS, MAX_PIXELS = 50, 120, 30 * SIDE * SIDE
COLUMN = {"number-words": "text", "recurrent": "steps", "digit-sum": "images"}
SMALL = ImagesColumn(name="images", minimum_length=1, maximum_length=3, height=2, width=3)


@pytest.fixture(name="client", scope="module")
def _client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    root = publish_sequences(tmp_path_factory.mktemp("repository"))
    limited = Settings(model_repository=root, max_length=MAX_LENGTH, max_steps=MAX_STEPS, max_pixels=MAX_PIXELS)
    with TestClient(create_app(limited)) as client:
        yield client


def refused(client: TestClient, name: str, *values: Any, kind: str = "invalid-request") -> list[dict[str, Any]]:
    """Check that rows are refused, and that a good request is answered after it; return the faults."""
    body = json.dumps({"model": name, "rows": [{COLUMN[name]: value} for value in values]})
    answer = client.post("/predict", content=body.encode(), headers=JSON)
    assert (answer.status_code, answer.json()["type"]) == (422, kind), answer.text[:500]
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(answer.content) < 20_000
    assert answer.content.isascii()
    assert client.post("/predict", json={"model": "number-words", "rows": [{"text": "five"}]}).status_code == 200
    faults: list[dict[str, Any]] = answer.json()["errors"]
    return faults


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(
    *more: bytes, size: tuple[int, int] = (SIDE, SIDE), depth: int = 8, colour: int = 0, pixels: bytes | None = None
) -> bytes:
    """Return a PNG with more chunks before its pixels; by default it is black."""
    height, width = size
    rows = zlib.compress(b"\0" * (height * (width + 1))) if pixels is None else pixels
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [chunk(b"IHDR", header), *more, chunk(b"IDAT", rows), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def saved(image: Image.Image) -> str:
    written = io.BytesIO()
    image.save(written, "PNG")
    return text(written.getvalue())


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("three milion and five", "token 1 is 'milion'"),
        ("five " * 20 + "x" * 100_000, "token 20 is 'xxxxxxxxxx"),
        ("five \ud800", "token 1 is '\\ud800'"),
        ("", "it has no tokens"),
        (" \n\t - ", "it has no tokens"),
        ("five " * (MAX_LENGTH + 1), f"at most {MAX_LENGTH} tokens, however it has {MAX_LENGTH + 1}"),
        (None, "must be text, however it is missing"),
        (5, "must be text, however it is a number"),
        (True, "must be text, however it is a boolean"),
        (["five"], "must be text, however it is a list"),
        ({"text": "five"}, "must be text, however it is an object"),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_a_text_that_is_none_of_the_model_s_is_refused(client: TestClient, value: Any, told: str) -> None:
    (fault,) = refused(client, "number-words", "five", value)
    assert (fault["row"], fault["column"]) == (1, "text")
    assert told in fault["message"]
    assert len(fault["message"]) < 300


GOOD = [0.5, 1]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ([], "it has no steps"),
        (None, "a list of steps, however it is missing"),
        ("[[1, 2]]", "a list of steps, however it is text"),
        ({"a": 1, "b": 2}, "a list of steps, however it is an object"),
        ([GOOD] * (MAX_LENGTH + 1), f"at most {MAX_LENGTH} steps"),
        ([GOOD, [1]], "step 1 is a list of 1"),
        ([GOOD, [1, 2, 3]], "step 1 is a list of 3"),
        ([GOOD, []], "step 1 is a list of 0"),
        ([GOOD, 7], "step 1 is a number"),
        ([GOOD, None], "step 1 is missing"),
        ([GOOD, "12"], "step 1 is text"),
        ([GOOD, {"a": 1}], "step 1 is an object with other names"),
        ([GOOD, {"a": 1, "b": 2, "c": 3}], "step 1 is an object with other names"),
        ([GOOD, [1, "2"]], "step 1, 'b', is text"),
        ([GOOD, [True, 2]], "step 1, 'a', is a boolean"),
        ([GOOD, [None, 2]], "step 1, 'a', is missing"),
        ([GOOD, [[1], 2]], "step 1, 'a', is a list"),
        ([GOOD, {"a": {}, "b": 2}], "step 1, 'a', is an object"),
        ([GOOD, [1, 10**400]], "step 1, 'b', is infinite or too large"),
        ([GOOD, [-(10**400), 1]], "step 1, 'a', is infinite or too large"),
    ],
    ids=lambda value: ascii(value)[-30:],
)
def test_steps_that_are_none_of_the_model_s_are_refused(client: TestClient, value: Any, told: str) -> None:
    (fault,) = refused(client, "recurrent", [GOOD], value)
    assert (fault["row"], fault["column"]) == (1, "steps")
    assert told in fault["message"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_refused(client: TestClient, number: str) -> None:
    body = f'{{"model": "recurrent", "rows": [{{"steps": [[1, 2], [{number}, 1]]}}]}}'
    answer = client.post("/predict", content=body.encode(), headers=JSON)
    assert (answer.status_code, answer.json()["type"]) == (422, "invalid-request")


GREY = Image.fromarray(np.zeros((SIDE, SIDE), dtype=np.uint8))
BLACK = [[0] * SIDE] * SIDE

IMAGES_REFUSED: dict[str, tuple[Any, str]] = {
    "a number": (5, "neither text"),
    "missing": (None, "neither text"),
    "an object": ({}, "neither text"),
    "empty text": ("", "it is not a PNG"),
    "no base64": ("not base64!", "it is not base64"),
    "a data URL": ("data:image/png;base64," + text(png()), "it is not base64"),
    "text that is not ASCII": ("ä" * 100, "it is not base64"),
    "another format": (text(b"GIF89a" + b"\0" * 100), "it is not a PNG"),
    "a JPEG": (text(b"\xff\xd8\xff\xe0" + b"\0" * 100), "it is not a PNG"),
    "the signature alone": (text(png()[:8]), "its PNG is damaged"),
    "cut in the header": (text(png()[:20]), "its PNG is damaged"),
    "cut in the pixels": (text(png()[:-20]), "its PNG is damaged"),
    "cut before the end": (text(png()[:-12]), "its PNG is damaged"),
    "pixels that are no stream": (text(png(pixels=b"\0" * 30)), "its PNG is damaged"),
    "too few pixels": (text(png(pixels=zlib.compress(b"\0" * 10))), "its PNG is damaged"),
    "no pixels": (text(png(pixels=b"")), "its PNG is damaged"),
    "a wrong checksum": (text(png()[:-6] + b"\0\0" + png()[-4:]), "its PNG is damaged"),
    "a length that lies": (text(png().replace(struct.pack(">I", 13), b"\x7f\xff\xff\xff")), "its PNG is damaged"),
    "an unknown compression": (text(png()[:26] + b"\x07" + png()[27:]), "its PNG is damaged"),
    "too small": (text(png(size=(SIDE, SIDE - 1))), f"{SIDE} × {SIDE - 1} pixels"),
    "100,000 × 100,000": (text(png(size=(100_000, 100_000), pixels=b"")), "100000 × 100000 pixels"),
    "4,294,967,295 × 1": (text(png(size=(2**32 - 1, 1), pixels=b"")), "4294967295 × 1 pixels"),
    "no size": (text(png(size=(0, 0))), "0 × 0 pixels"),
    "in colour": (saved(GREY.convert("RGB")), "it is in colour and not grey"),
    "with a palette": (saved(GREY.convert("P")), "it is with a palette and not grey"),
    "with transparency": (saved(GREY.convert("LA")), "it is with transparency and not grey"),
    "colour and transparency": (saved(GREY.convert("RGBA")), "it is in colour with transparency and not grey"),
    "a colour type of no PNG": (text(png(colour=7)), "it is of an unknown kind and not grey"),
    "a depth of no PNG": (text(png(depth=3)), "its PNG is damaged"),
    "no rows": ([], f"it is not a list of {SIDE} rows"),
    "a row too many": ([*BLACK, BLACK[0]], f"it is not a list of {SIDE} rows"),
    "a ragged row": ([*BLACK[:-1], [0]], f"it is not a list of {SIDE} rows"),
    "a row that is text": ([*BLACK[:-1], "0" * SIDE], f"it is not a list of {SIDE} rows"),
    "a pixel that is text": ([*BLACK[:-1], [*BLACK[0][:-1], "0"]], "a pixel is not a number"),
    "a pixel that is a boolean": ([*BLACK[:-1], [*BLACK[0][:-1], True]], "a pixel is not a number"),
    "a pixel that is missing": ([*BLACK[:-1], [*BLACK[0][:-1], None]], "a pixel is not a number"),
    "a pixel that is a list": ([*BLACK[:-1], [*BLACK[0][:-1], [0]]], "a pixel is not a number"),
    "too bright a pixel": ([*BLACK[:-1], [*BLACK[0][:-1], 255.1]], "a pixel is not between 0 (black) and 255"),
    "a negative pixel": ([*BLACK[:-1], [*BLACK[0][:-1], -1]], "a pixel is not between 0 (black) and 255"),
    "a giant pixel": ([*BLACK[:-1], [*BLACK[0][:-1], 10**400]], "a pixel is not between 0 (black) and 255"),
}


@pytest.mark.parametrize("case", IMAGES_REFUSED)
def test_an_image_that_is_none_of_the_model_s_is_refused(client: TestClient, case: str) -> None:
    value, told = IMAGES_REFUSED[case]
    (fault,) = refused(client, "digit-sum", [BLACK], [text(png()), value])
    assert (fault["row"], fault["column"]) == (1, "images")
    assert "however of image 1: " in fault["message"]
    assert told in fault["message"]


def test_limits_are_of_the_whole_request_too(client: TestClient) -> None:
    (fault,) = refused(client, "number-words", *["five " * 41] * 3)
    assert fault["message"].startswith(f"a request must have at most {MAX_STEPS} tokens, however it has 123")
    (fault,) = refused(client, "digit-sum", *[["not decoded"] * 16] * 2)
    assert fault["message"].startswith(
        f"a request must have at most {MAX_PIXELS} pixels, however it has {32 * SIDE**2}"
    )


def test_many_faults_are_counted_and_twenty_listed(client: TestClient) -> None:
    assert len(refused(client, "number-words", *["nonsense"] * 100)) == 20
    assert len(refused(client, "number-words", *[""] * 1000)) == 20
    assert len(refused(client, "recurrent", *[[["x", 1]]] * 100)) == 20


def test_rows_of_another_form_are_told(client: TestClient) -> None:
    for body in (
        {"model": "number-words", "rows": [{"texts": "five"}]},
        {"model": "number-words", "rows": []},
        {"model": "number-words", "rows": [{"text": "five", "steps": [[1, 2]]}]},
        {"model": "multiply-words", "columns": ["text"], "data": []},
    ):
        assert client.post("/predict", json=body).status_code in {404, 422}
    assert client.post("/predict", json={"model": "number-words", "text": "five"}).status_code == 422


def white(depth: int) -> bytes:
    """Return a PNG of 2 × 3 white pixels."""
    row = b"\0" + b"\xff" * -(-3 * depth // 8)
    return png(size=(2, 3), depth=depth, pixels=zlib.compress(row * 2))


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_grey_of_every_depth_is_white_where_it_is_full(depth: int) -> None:
    assert read_picture(text(white(depth)), SMALL).tolist() == [[1.0] * 3] * 2


def test_pixels_are_read_row_by_row_from_black_to_white() -> None:
    pixels = np.array([[0, 51, 102], [153, 204, 255]], dtype=np.uint8)
    expected = (pixels / 255).astype(np.float32)
    np.testing.assert_array_equal(read_picture(saved(Image.fromarray(pixels)), SMALL), expected)
    np.testing.assert_array_equal(read_picture(pixels.tolist(), SMALL), expected)
    by_ones = SMALL.model_copy(update={"white": 1})
    np.testing.assert_array_equal(read_picture((pixels / 255).tolist(), by_ones), expected)
    with pytest.raises(PictureError, match=r"0 \(black\) and 1 \(white\)"):
        read_picture(pixels.tolist(), by_ones)
    with pytest.raises(PictureError, match="not a number"):
        read_picture([[float("nan")] * 3, [object()] * 3], SMALL)


def test_what_is_no_pixel_never_reaches_the_decoder() -> None:
    """Compressed comments and profiles of megabytes, and further frames, are what a decoder would spend itself on."""
    bomb = zlib.compress(b"\0" * 20_000_000)
    more = [
        chunk(b"zTXt", b"Comment\0\0" + bomb),
        chunk(b"iTXt", b"Comment\0\1\0\0\0" + bomb),
        chunk(b"iCCP", b"profile\0\0" + bomb),
        chunk(b"acTL", struct.pack(">II", 1000, 0)),
        chunk(b"tRNS", b"\0\0"),
        chunk(b"gAMA", struct.pack(">I", 0)),
        chunk(b"eXIf", b"II*\0" + b"\xff" * 1000),
    ]
    tracemalloc.start()
    images = [read_picture(text(png(one)), IMAGES) for one in more]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not np.any(images)
    assert peak < 2_000_000


def test_pixels_beyond_the_image_do_not_count() -> None:
    """50 MB of them lie in 50 KB; the decoder ends with the last row."""
    huge = zlib.compress(b"\0" * (SIDE * (SIDE + 1)) + b"\xff" * 50_000_000)
    assert not read_picture(text(png(pixels=huge)), IMAGES).any()


def test_a_large_file_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(PictureError, match="its file has more than"):
        read_picture(text(png(chunk(b"tEXt", b"x" * 200_000))), IMAGES)


PNG = bytearray(png())


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_no_damage_makes_the_decoder_fail_otherwise(data: st.DataObject) -> None:
    file = bytearray(PNG)
    for _ in range(data.draw(st.integers(0, 4))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    start = data.draw(st.integers(0, len(file)))
    del file[start : start + data.draw(st.integers(0, 12))]
    try:
        image = read_picture(text(bytes(file)), IMAGES)
    except PictureError:
        return
    assert image.shape == (SIDE, SIDE)
    assert 0 <= image.min() <= image.max() <= 1


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("five")
nested = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner), max_leaves=12
)


@given(name=st.sampled_from(sorted(COLUMN)), values=st.lists(nested, min_size=1, max_size=4))
@settings(max_examples=80, deadline=None)
def test_no_value_makes_the_service_fail(client: TestClient, name: str, values: list[Any]) -> None:
    body = json.dumps({"model": name, "rows": [{COLUMN[name]: value} for value in values]})
    answer = client.post("/predict", content=body.encode(), headers=JSON)
    assert answer.status_code in {200, 422}
