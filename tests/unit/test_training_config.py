from pathlib import Path

import pytest

from training.config import ArithmeticConfig, TableConfig, load_config
from training.errors import ConfigError


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('operation = "add"\nseed = 7\nlow = 1.0\n')
    config = load_config(ArithmeticConfig, file, {"seed": 9, "name": None})
    assert (config.operation, config.seed, config.low) == ("add", 9, 1.0)


def test_first_order_steps_have_starts_of_their_own(tmp_path: Path) -> None:
    """Each of them fits every unit: the search's 14 would take nearly twice as long as was measured."""
    assert load_config(ArithmeticConfig, None, {"operation": "add"}).restarts == 14
    assert load_config(ArithmeticConfig, None, {"operation": "add", "solver": "adam"}).restarts == 8
    file = tmp_path / "run.toml"
    file.write_text('operation = "add"\nsolver = "adam"\nrestarts = 3\n')
    assert load_config(ArithmeticConfig, file, {}).restarts == 3


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('operation = "add"\nsede = 7\n', "sede"),
        ('operation = "add"\nlow = 3.0\nhigh = 3.0\n', "range must go up"),
        ('operation = "add"\nlow = nan\n', "finite"),
        ('operation = "add"\nrestarts = 0\n', "restarts"),
        ("operation = \n", "readable TOML"),
        ("seed = 1\n", "operation"),
    ],
)
def test_a_file_that_does_not_hold_together_is_refused(tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "run.toml"
    file.write_text(content)
    with pytest.raises(ConfigError, match=words):
        load_config(ArithmeticConfig, file, {})


def test_a_file_that_is_missing_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="readable TOML"):
        load_config(TableConfig, tmp_path / "none.toml", {})
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="readable TOML"):
        load_config(TableConfig, tmp_path / "binary.toml", {})


def test_a_table_needs_a_target() -> None:
    with pytest.raises(ConfigError, match="targets"):
        load_config(TableConfig, None, {"data": Path("x.csv"), "targets": []})
