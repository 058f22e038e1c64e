"""Where driver and workers listen, how they are reached, and whether what they say is encrypted: the settings
spark.stoker.*, see docs/clusters.md."""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass

from pyspark.sql import SparkSession

from stoker.errors import UserError, WorldError
from stoker.spark import session
from stoker.spark.session import Conf

DRIVER_HOST, DRIVER_BIND, DRIVER_PORT = (f"spark.stoker.driver.{key}" for key in ("host", "bindAddress", "port"))
PEER_HOST, PEER_BIND, PEER_PORTS = (f"spark.stoker.peer.{key}" for key in ("host", "bindAddress", "ports"))
ENCRYPT = "spark.stoker.network.encrypt"
SPARK_ENCRYPTS = "spark.network.crypto.enabled", "spark.ssl.rpc.enabled"
LOOPBACK = "127.0.0.1"

Ports = tuple[int, int]  # first and last; (0, 0): any free one


@dataclass(frozen=True)
class Address:
    told: str  # to the tasks, a name or a number
    bind: str  # a number of this machine, or a name that has one
    ports: Ports = (0, 0)


@dataclass(frozen=True)
class Peers:
    """Where a worker listens for others."""

    host: str = ""  # what they are told; variables of its environment are put in; "": its address towards the driver
    bind: str = ""  # "": the same
    ports: Ports = (0, 0)

    def listen_at(self, own: str) -> str:
        return self.bind or own

    def told(self, own: str) -> str:
        told = os.path.expandvars(self.host)
        if "$" in told:
            raise WorldError(f"{PEER_HOST} is {self.host!r}, and this executor has no such environment variable")
        return told or own


ANYWHERE = Peers()


def of_driver(spark: SparkSession, conf: Conf) -> Address:
    """Where the tasks reach this process."""
    told, bind = _bare(conf(DRIVER_HOST) or ""), _bare(conf(DRIVER_BIND) or "")
    ports = ports_of(DRIVER_PORT, conf(DRIVER_PORT))
    if told:
        _check_resolves(DRIVER_BIND if bind else DRIVER_HOST, bind or told)
        return Address(told, bind or told, ports)
    if bind:
        _check_resolves(DRIVER_BIND, bind)
    if session.is_local(conf):
        return Address(bind or LOOPBACK, bind or LOOPBACK, ports)
    if session.is_connect(spark):  # then this process is not Spark's driver
        own = _towards_server(spark.client.host)
        return Address(own, bind or own, ports)
    host = _bare(conf("spark.driver.host") or LOOPBACK)
    return Address(host, bind or _bare(conf("spark.driver.bindAddress") or host), ports)


def of_peers(conf: Conf) -> Peers:
    return Peers(_bare(conf(PEER_HOST) or ""), _bare(conf(PEER_BIND) or ""), ports_of(PEER_PORTS, conf(PEER_PORTS)))


def encrypts(conf: Conf) -> bool:
    """Whether a fit's connections are encrypted: as Spark's own, where nothing else is said."""
    told = conf(ENCRYPT)
    if told is None:
        return any((conf(setting) or "").strip().lower() == "true" for setting in SPARK_ENCRYPTS)
    if told.strip().lower() not in ("true", "false"):
        raise UserError(f"{ENCRYPT} is {told!r}; it must be true or false")
    return told.strip().lower() == "true"


def _bare(host: str) -> str:
    """Spark writes IPv6 addresses in brackets."""
    return host.strip().removeprefix("[").removesuffix("]")


def ports_of(setting: str, text: str | None) -> Ports:
    if text is None or text.strip() in ("", "0"):
        return 0, 0
    match = re.fullmatch(r"\s*(\d{1,5})\s*(?:-\s*(\d{1,5})\s*)?", text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 0 < first <= last < 65536:
        raise UserError(f"{setting} is {text!r}: it must be a port from 1 to 65535, or a range like 40000-40100")
    return first, last


def towards(host: str, port: int = 9) -> str:
    """The address of this machine on the way to another; nothing is sent."""
    problem: OSError | None = None
    for family, kind, protocol, _, address in _addresses(host, port):
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.connect(address)
                return probe.getsockname()[0]
        except OSError as error:
            problem = error
    raise WorldError(f"there is no way from here to {host}: {problem}")


def _towards_server(host: str) -> str:
    try:
        return towards(host)
    except WorldError as error:
        raise UserError(f"Spark Connect's server is at {host}: {error}. The workers must reach this process: set "
                        f"{DRIVER_HOST} to the name or address that they know it by") from error  # fmt: skip


def _addresses(host: str, port: int) -> list[tuple]:
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise WorldError(f"the address of {host} cannot be found: {error}") from error


def _check_resolves(setting: str, host: str) -> None:
    try:
        socket.getaddrinfo(host, None)
    except OSError as error:
        raise UserError(
            f"{setting} is {host!r}, and this machine finds no such address ({error}); the driver listens there: if "
            f"workers know it by another name than itself, set {DRIVER_BIND} (0.0.0.0 or :: is every address of it)"
        ) from None
