"""Digit images from files, from a server, and from scikit-learn. No test uses a network but 127.0.0.1."""

import gzip
import hashlib
import http.server
import os
import struct
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from training import digit_images
from training.digit_images import (
    MNIST_FILES,
    RemoteFile,
    download_mnist,
    find_mnist,
    load_mnist,
    small_digits,
)
from training.errors import TrainingDataError

IMAGES = np.arange(6 * 4 * 4, dtype=np.uint8).reshape(6, 4, 4)
LABELS = np.array([3, 0, 9, 1, 2, 7], dtype=np.uint8)
ARRAYS = {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES[:2], "y_test": LABELS[:2]}


def idx(array: NDArray[np.uint8]) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_idx(folder: Path, *, packed: bool) -> None:
    for name, array in zip(MNIST_FILES, ARRAYS.values(), strict=True):
        content = idx(array)
        (folder / name if packed else folder / name.removesuffix(".gz")).write_bytes(
            gzip.compress(content) if packed else content
        )


def test_the_small_digits_are_the_same_every_time_and_no_test_image_trains() -> None:
    digits = small_digits()

    assert digits.train_images.dtype == np.uint8
    assert digits.train_images.max() == 255
    assert np.array_equal(digits.test_images, small_digits().test_images)
    assert set(digits.test_labels.tolist()) == set(range(10))
    train = {image.tobytes() for image in digits.train_images}
    # a few images of the data set are there twice
    assert sum(image.tobytes() in train for image in digits.test_images) <= 2


@pytest.mark.parametrize("form", ["npz", "packed", "plain"])
def test_mnist_is_read_in_each_of_its_forms(tmp_path: Path, form: str) -> None:
    if form == "npz":
        np.savez_compressed(tmp_path / "mnist.npz", **ARRAYS)  # type: ignore[arg-type]
    else:
        write_idx(tmp_path, packed=form == "packed")

    digits = load_mnist(tmp_path)

    assert np.array_equal(digits.train_images, IMAGES)
    assert digits.train_labels.tolist() == LABELS.tolist()
    assert digits.train_labels.dtype == np.int64
    assert np.array_equal(digits.test_images, IMAGES[:2])


def test_mnist_is_found_where_the_variable_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NALU_DATA_DIR", raising=False)
    assert find_mnist() is None
    monkeypatch.setenv("NALU_DATA_DIR", str(tmp_path))
    assert find_mnist() is None
    write_idx(tmp_path, packed=False)
    found = find_mnist()
    assert found is not None
    assert found.source == "MNIST"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    write_idx(tmp_path, packed=True)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()

    with pytest.raises(TrainingDataError, match=r"t10k-labels-idx1-ubyte\.gz is not there; `nalu data download mnist`"):
        load_mnist(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with ''"),
        (b"\x00\x00\x0d\x03" + bytes(12), "begins with '00000d03'"),
        (b"\x00\x00\x08\xff", "begins with '000008ff'"),
        (idx(IMAGES)[:-1], "it holds 95"),
        (idx(IMAGES) + b"x", "it holds 97"),
    ],
)
def test_a_damaged_idx_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    write_idx(tmp_path, packed=False)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(content)

    with pytest.raises(TrainingDataError, match=message):
        load_mnist(tmp_path)


def test_a_file_that_is_no_gzip_is_refused(tmp_path: Path) -> None:
    write_idx(tmp_path, packed=True)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"no gzip")

    with pytest.raises(TrainingDataError, match="must be readable"):
        load_mnist(tmp_path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"y_train": LABELS[:3]}, r"shapes are \(6, 4, 4\) and \(3,\)"),
        ({"y_train": LABELS + 1}, "labels from 0 to 9"),
        ({"x_train": IMAGES.reshape(6, 16)}, r"shapes are \(6, 16\)"),
        ({"x_train": IMAGES.astype(np.float32)}, "x_train is of float32"),
        ({"x_train": IMAGES[:0], "y_train": LABELS[:0]}, r"\(0, 4, 4\)"),
        ({"y_train": np.array([None] * 6)}, "allow_pickle"),
    ],
)
def test_arrays_that_are_no_digits_are_refused(
    tmp_path: Path, changed: dict[str, NDArray[np.generic]], message: str
) -> None:
    np.savez(tmp_path / "mnist.npz", **{**ARRAYS, **changed})  # type: ignore[arg-type]

    with pytest.raises(TrainingDataError, match=message):
        load_mnist(tmp_path)


def test_a_file_that_is_no_archive_or_has_too_much_in_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mnist.npz").write_bytes(b"PK no archive")
    with pytest.raises(TrainingDataError, match="must hold the arrays x_train"):
        load_mnist(tmp_path)
    with zipfile.ZipFile(tmp_path / "mnist.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x_train.npy", bytes(2_000_000))
    monkeypatch.setattr(digit_images, "_MOST_BYTES", 1_000_000)
    with pytest.raises(TrainingDataError, match="at most 1000000 bytes"):
        load_mnist(tmp_path)


CONTENT = b"made-up bytes of a data set"
FILES = {"a.gz": RemoteFile(len(CONTENT), hashlib.sha256(CONTENT).hexdigest())}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    root = tmp_path / "served"
    root.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(root))  # type: ignore[arg-type]

        def log_message(self, *_args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}/", root
        running.shutdown()
        thread.join()


def test_a_download_is_checked_put_in_place_and_not_repeated(tmp_path: Path, server: tuple[str, Path]) -> None:
    url, root = server
    (root / "a.gz").write_bytes(CONTENT)
    folder = tmp_path / "new" / "data"

    assert download_mnist(folder, url=url, files=FILES) == [folder / "a.gz"]
    assert (folder / "a.gz").read_bytes() == CONTENT
    assert [entry.name for entry in folder.iterdir()] == ["a.gz"]

    (root / "a.gz").unlink()
    assert download_mnist(folder, url=url, files=FILES) == []


@pytest.mark.parametrize(
    ("served", "message"),
    [
        (CONTENT[:-1] + b"X", "however it has 27 bytes"),
        (CONTENT[:-1], "however it has 26 bytes"),
        (CONTENT + b"and more of them", "however it has more than 27 bytes"),
    ],
)
def test_another_file_than_it_must_be_is_not_kept(
    tmp_path: Path, server: tuple[str, Path], served: bytes, message: str
) -> None:
    url, root = server
    (root / "a.gz").write_bytes(served)
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.gz").write_bytes(b"what was there before")

    with pytest.raises(TrainingDataError, match=message):
        download_mnist(folder, url=url, files=FILES)

    assert (folder / "a.gz").read_bytes() == b"what was there before"
    assert [entry.name for entry in folder.iterdir()] == ["a.gz"]


def test_a_server_without_the_file_and_other_addresses_are_one_message(
    tmp_path: Path, server: tuple[str, Path]
) -> None:
    with pytest.raises(TrainingDataError, match="must be reachable, however: File not found"):
        download_mnist(tmp_path / "data", url=server[0], files=FILES)
    with pytest.raises(TrainingDataError, match="must be reachable"):
        download_mnist(tmp_path / "data", url=(tmp_path / "nowhere").as_uri() + "/", files=FILES)
    with pytest.raises(TrainingDataError, match="http, https or file address"):
        download_mnist(tmp_path / "data", url="ftp://127.0.0.1/", files=FILES)


def test_a_folder_that_is_a_file_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(CONTENT)
    (tmp_path / "taken").touch()

    with pytest.raises(TrainingDataError, match="the folder for downloads must be writable"):
        download_mnist(tmp_path / "taken", url=tmp_path.as_uri() + "/", files=FILES)


@pytest.mark.real_data
@pytest.mark.skipif(not os.environ.get("NALU_DATA_DIR"), reason="NALU_DATA_DIR is not set")
def test_the_real_images_are_those_first_published() -> None:
    """The checksums are those of the four files as published, unpacked."""
    digits = find_mnist()
    assert digits is not None

    assert digits.train_images.shape == (60_000, 28, 28)
    for array, checksum in (
        (digits.train_images, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
        (digits.test_labels.astype(np.uint8), "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
    ):
        assert hashlib.sha256(idx(array)).hexdigest() == checksum
