"""`nalu keys`, and a real service that lets in whom it names."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from models.contract.errors import NaluError
from nalu_cli import app
from service.authentication import check_authentication, is_loopback
from service.errors import KeyFileError, StartError
from service.settings import Settings
from tests.published import publish_arithmetic
from tests.serving import environment, serve

N_BURST = 20


def keys(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["keys", *arguments], env=environment())


def test_a_key_is_made_shown_once_listed_and_revoked(tmp_path: Path) -> None:
    file = tmp_path / "keys.jsonl"
    made = keys("new", "dash", "--file", str(file), "--days", "30", "--rate", "5", "--burst", "9", "--concurrent", "2")
    assert made.exit_code == 0, made.output
    key = made.stdout.strip()
    assert key.startswith("nalu_")
    assert key not in file.read_text() + made.stderr
    assert keys("new", "ops", "--role", "admin", "--file", str(file)).exit_code == 0

    listed = keys("list", "--file", str(file)).stdout
    assert [line.split()[:2] for line in listed.splitlines()[1:]] == [["dash", "predict"], ["ops", "admin"]]
    assert "never" in listed

    assert keys("revoke", "dash", "--file", str(file)).exit_code == 0
    assert "dash" not in keys("list", "--file", str(file)).stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["new", "a b"], "name: String should match"),
        (["new", "a", "--rate", "-1"], "rate: Input should be greater than 0"),
        (["new", "a", "--burst", "3"], "burst: .*a burst must come with a rate"),
        (["new", "a", "--days", "1e9"], None),
        (["revoke", "a"], "must be readable"),
        (["list"], "must be readable"),
    ],
)
def test_what_cannot_be_is_told(arguments: list[str], told: str | None, tmp_path: Path) -> None:
    done = keys(*arguments, "--file", str(tmp_path / "keys"))

    if told is None:  # wrong use
        assert done.exit_code == 2
        return
    assert isinstance(done.exception, NaluError)
    with pytest.raises(KeyFileError, match=told):
        raise done.exception


def test_only_loopback_does_without_keys(tmp_path: Path) -> None:
    check_authentication(Settings())
    check_authentication(Settings(host="localhost"))
    check_authentication(Settings(host="0.0.0.0", auth="off"))  # noqa: S104
    for host in ("0.0.0.0", "::", "192.0.2.1"):  # noqa: S104
        with pytest.raises(StartError, match=r"nalu keys new.*NALU_KEYS_FILE=.*NALU_AUTH=off.*127\.0\.0\.1"):
            check_authentication(Settings(host=host))
    with pytest.raises(StartError, match="NALU_AUTH=required"):
        check_authentication(Settings(auth="required"))
    file = tmp_path / "keys.jsonl"
    with pytest.raises(KeyFileError, match="must be readable"):
        check_authentication(Settings(keys_file=file))
    assert keys("new", "a", "--file", str(file)).exit_code == 0
    check_authentication(Settings(host="0.0.0.0", keys_file=file))  # noqa: S104
    with pytest.raises(StartError, match="take one"):
        check_authentication(Settings(keys_file=file, auth="off"))
    assert not is_loopback("no such host.")


def test_without_keys_the_start_on_every_address_is_refused(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).parent / "nalu"), "serve", "--host", "0.0.0.0", "--port", "0"]  # noqa: S104
    done = subprocess.run(command, env=environment(), cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "must ask for API keys" in done.stderr


def test_two_workers_know_the_same_keys_and_add_up_what_they_send(tmp_path: Path) -> None:
    file = tmp_path / "keys.jsonl"
    publish_arithmetic(tmp_path / "models", "multiply")
    limited = keys("new", "visitor", "--file", str(file), "--rate", "0.001", "--burst", str(N_BURST)).stdout.strip()
    free = keys("new", "dashboard", "--file", str(file)).stdout.strip()
    body = b'{"model": "multiply", "rows": [{"a": 3, "b": 5}]}'

    with serve(tmp_path / "models", "--workers", "2", NALU_KEYS_FILE=str(file)) as served:
        served.wait_until_ready()
        assert "-H 'X-API-Key: YOUR KEY'" in served.output

        def ask(key: str) -> int:
            headers = {"Content-Type": "application/json", "X-API-Key": key}
            return served.request("POST", "/predict", body, headers)[0]

        with ThreadPoolExecutor(4) as threads:
            statuses = list(threads.map(ask, [limited] * (2 * N_BURST)))
            assert sorted(statuses) == [200] * N_BURST + [429] * N_BURST
            assert set(threads.map(ask, [free] * 8)) == {200}
            assert set(threads.map(ask, ["wrong"] * 8)) == {403}
        assert served.stop() == 0
        assert free not in served.output
        assert limited not in served.output
