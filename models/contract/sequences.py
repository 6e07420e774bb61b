"""Input columns whose every row is a sequence of any length: a text, steps of numbers, or images.

A model with such a column takes nothing else. What becomes of a row on its way into the graph is said here, once, for
the side that trains and the side that serves.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from models.contract.columns import NumberColumn
from models.contract.part import ColumnName, Part

MAX_IMAGE_SIDE = 1024
"""Largest height and width of an image; digits have 28."""

Token = Annotated[str, Field(min_length=1, max_length=100)]


class _Sequences(Part):
    """What columns of sequences share: the lengths seen in training."""

    name: ColumnName
    minimum_length: Annotated[int, Field(ge=1)]
    maximum_length: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _lengths_are_ordered(self) -> Self:
        if self.minimum_length > self.maximum_length:
            msg = (
                "minimum_length must not exceed maximum_length, however: "
                f"{self.minimum_length} > {self.maximum_length} in column {self.name!r}"
            )
            raise ValueError(msg)
        return self


class TextColumn(_Sequences):
    """An input column of texts, each a sequence of tokens.

    Attributes:
        name: Column name.
        minimum_length: Fewest tokens seen in training.
        maximum_length: Most tokens seen in training.
        vocabulary: The tokens; a token's position here is its number in the graph, another token is refused (422).
        split: Whether a token is a word (between white space) or a character.
        lower_case: Whether a text is put into lower case first; the vocabulary is in lower case then.
        hyphens: Whether a hyphen is kept as it is or stands for a space ("twenty-one" is two words).
        spaces: In a text split into characters, whether white space is kept as tokens or passed over.

    Example:
        >>> column = TextColumn(name="text", minimum_length=1, maximum_length=5, vocabulary=("one", "twenty"))
        >>> column.tokens("Twenty-One")
        ['twenty', 'one']
    """

    kind: Literal["text"] = "text"
    vocabulary: tuple[Token, ...] = Field(min_length=1, max_length=10_000)
    split: Literal["words", "characters"] = "words"
    lower_case: bool = True
    hyphens: Literal["kept", "spaces"] = "spaces"
    spaces: Literal["kept", "passed over"] = "passed over"

    @model_validator(mode="after")
    def _tokens_can_occur(self) -> Self:
        if len(set(self.vocabulary)) != len(self.vocabulary):
            msg = f"a vocabulary must not repeat a token, however that of column {self.name!r} does"
            raise ValueError(msg)
        for token in self.vocabulary:
            if self.tokens(token) != [token]:
                msg = (
                    f"a token must be what a text is split into, however {token!a} becomes {self.tokens(token)!a} "
                    f"in column {self.name!r}; change it, or how the text is split"
                )
                raise ValueError(msg)
        return self

    def tokens(self, text: str) -> list[str]:
        """Return the tokens of a text, whether the vocabulary has them or not."""
        if self.lower_case:
            text = text.lower()
        if self.hyphens == "spaces":
            text = text.replace("-", " ")
        if self.split == "words":
            return text.split()
        return [character for character in text if self.spaces == "kept" or not character.isspace()]


class StepsColumn(_Sequences):
    """An input column of sequences whose every step is a row of numbers.

    Attributes:
        name: Column name.
        minimum_length: Fewest steps seen in training.
        maximum_length: Most steps seen in training.
        columns: Numbers of a step, with the ranges seen in training; none may be missing.
    """

    kind: Literal["sequence"] = "sequence"
    columns: tuple[NumberColumn, ...] = Field(min_length=1, max_length=10_000)

    @model_validator(mode="after")
    def _numbers_are_plain(self) -> Self:
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names):
            msg = f"the numbers of a step must have distinct names, however one is repeated among {names}"
            raise ValueError(msg)
        for column in self.columns:
            if column.may_be_missing or column.domain is not None:
                msg = f"a number of a step must be given and has no domain of its own, however {column.name!r} differs"
                raise ValueError(msg)
        return self


class ImagesColumn(_Sequences):
    """An input column of sequences of grey images.

    An image is a PNG in base64, or rows of pixels from 0 (black) to `white`.

    Attributes:
        name: Column name.
        minimum_length: Fewest images seen in training.
        maximum_length: Most images seen in training.
        height: Rows of pixels.
        width: Pixels in a row.
        white: The value of a white pixel in an image given as rows of pixels.
    """

    kind: Literal["images"] = "images"
    height: Annotated[int, Field(ge=1, le=MAX_IMAGE_SIDE)]
    width: Annotated[int, Field(ge=1, le=MAX_IMAGE_SIDE)]
    white: Literal[1, 255] = 255


SequenceColumn = TextColumn | StepsColumn | ImagesColumn
