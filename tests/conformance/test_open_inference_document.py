"""The Open Inference Protocol's own document driven by schemathesis: a short form of the run in `benchmarks/faults`."""

from benchmarks.faults.open_inference_schema import Drive, drive_all, getter, read_document
from benchmarks.faults.report import CHECKOUT
from tests.serving import serve


def test_the_service_answers_as_the_protocol_s_document_says_or_as_is_listed() -> None:
    repository = CHECKOUT / "model_repository"
    with serve(repository, "--workers", "1", NALU_LOG_LEVEL="warning") as served:
        served.wait_until_ready()
        url = f"http://127.0.0.1:{served.port}"
        drive, refused = drive_all(url, getter(served), repository, n_examples=4)
        strict = Drive(url, [], n_examples=2)
        strict.everywhere(read_document())

    assert drive.failures == {}
    assert refused == []
    assert len(drive.operations) == 9
    assert drive.statuses[200] >= 18  # two for each model's sample
    assert "Traceback" not in served.output
    assert any("UndefinedStatusCode 404" in failure for failure in strict.failures), "nothing would be found"
