"""Uvicorn's HTTP/1.1 protocol where no other is spoken: that a client would change over to one is passed over.

Java's HTTP client and `curl --http2` ask for HTTP/2 and send their request all the same, which a server that does not
change over answers as if it had not been asked (RFC 9110, section 7.8). httptools ends such a request with its head,
and uvicorn drops what came behind that: the body would be lost, and what follows read as requests.
"""

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class PlainProtocol(HttpToolsProtocol):
    """Uvicorn's HTTP/1.1 protocol that reads a head with `Upgrade` a second time, without it.

    What the parser calls complete while `parser.should_upgrade()` is to be read again, and not complete.
    """

    def data_received(self, data: bytes) -> None:
        """Let the parser read, and refuse what it cannot."""
        rest: bytes | memoryview | None = data
        try:
            while rest is not None:
                rest = self._read(rest)
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")

    def _read(self, data: bytes | memoryview) -> memoryview | None:
        """Return what is still to be read, None where nothing is."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as stop:
            self._read_again()
            return memoryview(data)[stop.args[0] :]
        return None

    def _read_again(self) -> None:
        method = self.parser.get_method()
        if method == b"CONNECT":  # ends with its head too, whatever it asks for
            msg = "there is no tunnel here"
            raise httptools.HttpParserError(msg)
        line = b"%b %b HTTP/%b\r\n" % (method, self.url, self.parser.get_http_version().encode())
        headers = b"".join(b"%b: %b\r\n" % header for header in self.headers if header[0] != b"upgrade")
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
        self.parser.feed_data(line + headers + b"\r\n")
