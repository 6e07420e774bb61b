"""Whether the service asks for keys: it does not start open to other machines unless it is told to."""

import ipaddress
import socket

from service.errors import StartError
from service.key_file import read_some_records
from service.settings import Settings


def check_authentication(settings: Settings) -> None:
    """Refuse settings with which anybody on a network could ask without anyone having decided so.

    Raises:
        StartError: When keys are needed and there is no file of them, or a file of them is not to be used.
        KeyFileError: When the file cannot be read.
    """
    if settings.auth == "off":
        if settings.keys_file is not None:
            msg = (
                f"NALU_AUTH=off must stand without a keys file, however NALU_KEYS_FILE is {settings.keys_file}; take "
                "one of the two away"
            )
            raise StartError(msg)
        return
    if settings.keys_file is not None:
        read_some_records(settings.keys_file)  # told once, not by each worker
        return
    how = (
        "make a key with `nalu keys new NAME --file keys.jsonl` and set NALU_KEYS_FILE=keys.jsonl, or set "
        "NALU_AUTH=off where only those reach the port who may ask anything"
    )
    if settings.auth == "required":
        msg = f"NALU_AUTH=required must stand with a keys file, however NALU_KEYS_FILE is not set; {how}"
        raise StartError(msg)
    if not is_loopback(settings.host):
        msg = (
            f"a service that other machines reach must ask for API keys, however it is to listen on {settings.host!a} "
            f"and NALU_KEYS_FILE is not set; {how}, or listen on 127.0.0.1"
        )
        raise StartError(msg)


def is_loopback(host: str) -> bool:
    """Return whether an address to listen on is reached from this machine alone; False where it is no address.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0")
        (True, True, False)
    """
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return all(ipaddress.ip_address(address[0]).is_loopback for *_kind, address in found)
