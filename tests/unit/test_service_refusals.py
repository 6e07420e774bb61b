"""What those are told whose connection is closed."""

import json

from service.api.middleware import new_id
from service.api.refusals import Refusals
from service.errors import HeadTooLargeError, SlowRequestError


def test_each_refusal_tells_its_own_id_and_the_time_of_day() -> None:
    refusals = Refusals()
    noon, later = [(b"date", b"noon")], [(b"date", b"later")]
    slow, large = SlowRequestError(10), HeadTooLargeError(1000, 100)

    for error, expected, headers in ((slow, 408, noon), (large, 431, noon), (slow, 408, noon), (slow, 408, later)):
        own_id = new_id()
        status, told = refusals.of(error, own_id, headers)

        head, _, body = told.partition(b"\r\n\r\n")
        lines = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
        content = json.loads(body)
        assert status == expected == content["status"] == int(head.split()[1])
        assert int(lines[b"content-length"]) == len(body)
        assert lines[b"x-request-id"].decode() == own_id == content["request_id"]
        assert lines[b"connection"] == b"close"
        assert lines[b"date"] == headers[0][1]
        assert content["detail"] == str(error)
