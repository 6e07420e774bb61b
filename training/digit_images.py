"""Images of handwritten digits: full MNIST where it lies on disk, and the small digits that scikit-learn ships.

MNIST: LeCun, Bottou, Burges and Haffner, "Gradient-based learning applied to document recognition", Proceedings of the
IEEE 86 (1998); 60,000 training and 10,000 test images of 28 × 28. The small digits are the test part of "Optical
Recognition of Handwritten Digits" (Alpaydin and Kaynak, UCI, 1998), 1,797 images of 8 × 8.
"""

import gzip
import hashlib
import math
import os
import struct
import urllib.request
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from training.errors import TrainingDataError
from training.named_data import DATA_DIR_VARIABLE, data_dir

MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
"""Where torchvision gets the files from, too; the author's own page no longer gives them."""


@dataclass(frozen=True)
class RemoteFile:
    """A file to download.

    Attributes:
        n_bytes: Its length.
        sha256: Its checksum, in hexadecimal digits.
    """

    n_bytes: int
    sha256: str


MNIST_FILES: Mapping[str, RemoteFile] = {
    "train-images-idx3-ubyte.gz": RemoteFile(
        9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
    ),
    "train-labels-idx1-ubyte.gz": RemoteFile(
        28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
    ),
    "t10k-images-idx3-ubyte.gz": RemoteFile(
        1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
    ),
    "t10k-labels-idx1-ubyte.gz": RemoteFile(4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
}
"""The four files of MNIST as first published. TensorFlow Datasets lists the same checksums."""

_ARRAYS = ("x_train", "y_train", "x_test", "y_test")
"""Names in mnist.npz, the file that Keras made common, in the order of the four files."""

_MOST_BYTES = 512 * 1024**2
"""Most bytes of a file once unpacked: ten times those of MNIST's largest."""

_TIMEOUT_S = 60.0
"""A server that says nothing for a minute will not."""

_SMALL_TEST_IMAGES = 397
"""Test images of the small digits, of 1,797; the rest train and validate."""


@dataclass(frozen=True)
class DigitImages:
    """Images with the digit that each shows.

    Attributes:
        source: Which images they are, for people.
        train_images: Shape (n, height, width), uint8, 0 for paper and 255 for ink.
        train_labels: Shape (n,), int64, 0 to 9.
        test_images: As `train_images`.
        test_labels: As `train_labels`.
    """

    source: str
    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]


def small_digits() -> DigitImages:
    """Return scikit-learn's digits, 8 × 8, which need neither file nor network; a fixed part of them is for tests.

    Example:
        >>> digits = small_digits()
        >>> digits.train_images.shape, digits.test_images.shape
        ((1400, 8, 8), (397, 8, 8))
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    darkest = 16  # as the data set has it
    pixels = np.rint(images.reshape(-1, 8, 8) * (255 / darkest)).astype(np.uint8)
    order = np.random.default_rng(0).permutation(len(pixels))
    test, train = order[:_SMALL_TEST_IMAGES], order[_SMALL_TEST_IMAGES:]
    return DigitImages(
        "the 8 × 8 digits of scikit-learn",
        pixels[train],
        labels[train].astype(np.int64),
        pixels[test],
        labels[test].astype(np.int64),
    )


def find_mnist() -> DigitImages | None:
    """Return MNIST where the folder that `NALU_DATA_DIR` names holds it, else None.

    Raises:
        TrainingDataError: When the variable names no folder, or the files are there and damaged.
    """
    return load_mnist(data_dir()) if os.environ.get(DATA_DIR_VARIABLE) and _has_mnist(data_dir()) else None


def load_mnist(folder: Path) -> DigitImages:
    """Read MNIST from `mnist.npz`, or from the four idx files, packed (.gz) or not.

    Raises:
        TrainingDataError: When the files are not there or are damaged.
    """
    if (folder / "mnist.npz").is_file():
        arrays = _read_npz(folder / "mnist.npz")
    else:
        arrays = [_read_idx(_idx_file(folder, name)) for name in MNIST_FILES]
    train_images, train_labels, test_images, test_labels = arrays
    for images, labels in ((train_images, train_labels), (test_images, test_labels)):
        _check(folder, images, labels)
    return DigitImages("MNIST", train_images, train_labels.astype(np.int64), test_images, test_labels.astype(np.int64))


def download_mnist(folder: Path, *, url: str = MNIST_URL, files: Mapping[str, RemoteFile] = MNIST_FILES) -> list[Path]:
    """Download the files of MNIST; what is there already and whole is left as it is.

    A file is put in place only when it has the length and the SHA-256 that it must have.

    Args:
        folder: Where to put them; it is made where it does not exist.
        url: Folder to download from, ending in "/".
        files: Name → what the file must be.

    Returns:
        The files that were downloaded.

    Raises:
        TrainingDataError: When a file cannot be had, is not the one it must be, or cannot be written.
    """
    if urlsplit(url).scheme not in ("http", "https", "file"):
        msg = f"files are downloaded from an http, https or file address, however: {url[:200]!r}"
        raise TrainingDataError(msg)
    got = []
    for name, must in files.items():
        path = folder / name
        if path.is_file() and _sha256(path.read_bytes()) == must.sha256:
            continue
        content = _fetch(url + name, must)
        aside = path.with_name(path.name + ".part")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            aside.write_bytes(content)
            aside.replace(path)
        except OSError as error:
            msg = f"the folder for downloads must be writable, however {error.strerror or error} at {folder}"
            raise TrainingDataError(msg) from error
        got.append(path)
    return got


def _fetch(url: str, must: RemoteFile) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:  # noqa: S310 # download_mnist checks the scheme
            content: bytes = answer.read(must.n_bytes + 1)
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", None) or error
        msg = (
            f"{url} must be reachable, however: {reason}; put the file into the folder that {DATA_DIR_VARIABLE} names "
            "by other means"
        )
        raise TrainingDataError(msg) from error
    if len(content) != must.n_bytes or _sha256(content) != must.sha256:
        n_bytes = f"more than {must.n_bytes}" if len(content) > must.n_bytes else str(len(content))
        msg = (
            f"{url} must have {must.n_bytes} bytes with the SHA-256 {must.sha256}, however it has {n_bytes} bytes with "
            f"{_sha256(content)}; nothing was kept"
        )
        raise TrainingDataError(msg)
    return content


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _has_mnist(folder: Path) -> bool:
    return (folder / "mnist.npz").is_file() or any(
        (folder / name).is_file() or (folder / name.removesuffix(".gz")).is_file() for name in MNIST_FILES
    )


def _idx_file(folder: Path, packed: str) -> Path:
    for path in (folder / packed.removesuffix(".gz"), folder / packed):
        if path.is_file():
            return path
    msg = (
        f"MNIST must lie in {folder} as mnist.npz or as four idx files, however {packed} is not there; "
        "`nalu data download mnist` downloads it"
    )
    raise TrainingDataError(msg)


def _read_npz(path: Path) -> list[NDArray[np.uint8]]:
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = [entry.file_size for entry in archive.infolist()]
        if sum(sizes) > _MOST_BYTES:
            msg = f"a file of images must unpack to at most {_MOST_BYTES} bytes, however {path} to {sum(sizes)}"
            raise TrainingDataError(msg)
        with np.load(path, allow_pickle=False) as arrays:
            read = [arrays[name] for name in _ARRAYS]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        msg = f"{path} must hold the arrays {', '.join(_ARRAYS)}, however: {error}"
        raise TrainingDataError(msg) from error
    for name, array in zip(_ARRAYS, read, strict=True):
        if array.dtype != np.uint8:
            msg = f"the arrays of {path} must be of bytes, however {name} is of {array.dtype}"
            raise TrainingDataError(msg)
    return read


def _read_idx(path: Path) -> NDArray[np.uint8]:
    """Read an idx file of bytes: two zeros, type 8, number of dimensions, then sizes in big-endian order."""
    try:
        if path.suffix == ".gz":
            with gzip.open(path) as packed:
                content = packed.read(_MOST_BYTES)
        else:
            with path.open("rb") as plain:
                content = plain.read(_MOST_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        msg = f"{path} must be readable, however: {error}"
        raise TrainingDataError(msg) from error
    if len(content) < 4 or content[:3] != b"\x00\x00\x08" or len(content) < 4 + 4 * content[3]:
        msg = f"{path} must be an idx file of bytes, however it begins with {content[:4].hex()!r}"
        raise TrainingDataError(msg)
    header = 4 + 4 * content[3]
    shape = struct.unpack(f">{content[3]}I", content[4:header])
    if math.prod(shape) != len(content) - header:
        msg = f"{path} must hold {shape} bytes after its header, however it holds {len(content) - header}"
        raise TrainingDataError(msg)
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)


def _check(folder: Path, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> None:
    if images.ndim != 3 or labels.shape != images.shape[:1] or not len(labels) or labels.max() > 9:
        msg = (
            f"the digits in {folder} must be images of shape (n, height, width) with n labels from 0 to 9, however the "
            f"shapes are {images.shape} and {labels.shape}"
        )
        raise TrainingDataError(msg)
