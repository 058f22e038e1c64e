"""Where driver and workers listen, how they are told of (ports, addresses, both families), and what is encrypted."""

import socket
from types import SimpleNamespace

import pytest
import torch

from conftest import blobs, table
from faulty_gang import FaultyGang
from local_gang import run
from stoker import StokerClassifier
from stoker.engine import core
from stoker.errors import UserError, WorldError
from stoker.spark import address, launch
from stoker.spark.address import Address, Peers
from stoker.spark.task import Job
from test_exact import make_fit, without_times

NO_SESSION = object()


def conf(**told):
    settings = {"spark.master": "spark://there:7077", **{f"spark.{k.replace('_', '.')}": v for k, v in told.items()}}
    return settings.get


@pytest.fixture
def ipv6():
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        pytest.skip("no IPv6 here")


@pytest.mark.parametrize("text", ["http", "-1", "0-5", "70000", "40010-40000", "1,2", "5-"])
def test_what_is_no_port_is_told_with_the_setting(text):
    with pytest.raises(UserError, match=r"spark.stoker.driver.port is '.*a range like 40000-40100"):
        address.of_driver(NO_SESSION, conf(stoker_driver_port=text))
    with pytest.raises(UserError, match=r"spark.stoker.peer.ports is"):
        address.of_peers(conf(stoker_peer_ports=text))


def test_settings_come_before_those_of_spark():
    spark = {"driver_host": "127.0.0.1", "driver_bindAddress": "127.0.0.2"}
    assert address.of_driver(NO_SESSION, conf(**spark)) == Address("127.0.0.1", "127.0.0.2")
    mine = {"stoker_driver_host": "far.example", "stoker_driver_bindAddress": "0.0.0.0", "stoker_driver_port": "7-9"}
    assert address.of_driver(NO_SESSION, conf(**spark, **mine)) == Address("far.example", "0.0.0.0", (7, 9))
    assert address.of_driver(NO_SESSION, conf(driver_host="[2001:db8::1]")) == Address("2001:db8::1", "2001:db8::1")
    assert address.of_driver(NO_SESSION, {"spark.master": "local[2]"}.get) == Address("127.0.0.1", "127.0.0.1")
    assert address.of_peers(conf(stoker_peer_ports="40000 - 40010")) == Peers(ports=(40000, 40010))


def test_connections_are_encrypted_where_spark_s_are_or_where_it_is_asked_for():
    assert not address.encrypts(conf())
    assert address.encrypts(conf(network_crypto_enabled="true"))
    assert address.encrypts(conf(ssl_rpc_enabled="TRUE"))
    assert address.encrypts(conf(stoker_network_encrypt="true"))
    assert not address.encrypts(conf(network_crypto_enabled="true", stoker_network_encrypt="false"))
    with pytest.raises(UserError, match=r"spark.stoker.network.encrypt is 'yes'; it must be true or false"):
        address.encrypts(conf(stoker_network_encrypt="yes"))


def test_a_host_that_only_workers_know_needs_an_address_to_listen_on():
    with pytest.raises(UserError, match=r"spark.stoker.driver.host is 'no.such.invalid'.*spark.stoker.driver.bindAd"):
        address.of_driver(NO_SESSION, conf(stoker_driver_host="no.such.invalid"))


def test_a_connect_server_that_is_not_found_names_the_setting():
    class Session:
        client = SimpleNamespace(host="nowhere.invalid")

    Session.__module__ = "pyspark.sql.connect.session"
    with pytest.raises(
        UserError, match=r"server is at nowhere\.invalid: .*cannot be found.*set spark\.stoker\.driver\.host"
    ):
        address.of_driver(Session(), conf())


def test_a_peer_s_host_may_stand_in_its_environment(monkeypatch):
    monkeypatch.setenv("HOST_IP", "10.1.2.3")
    assert Peers("$HOST_IP").told("127.0.0.1") == "10.1.2.3"
    assert Peers().told("127.0.0.1") == Peers().listen_at("127.0.0.1") == "127.0.0.1"
    with pytest.raises(WorldError, match=r"spark.stoker.peer.host is '\$NOT_SET'"):
        Peers("$NOT_SET").told("127.0.0.1")


def test_a_taken_port_of_the_driver_is_told_before_a_job():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"listen on 127.0.0.1 port {port}: Address already in use.*driver.port"):
            launch._listen({"secret": bytes(32), "ports": (port, port)})


def test_the_next_port_of_a_range_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        coordinator = core().Coordinator({"secret": bytes(32), "ports": (port, port + 20)})
        assert port < coordinator.port <= port + 20
        coordinator.close()


def test_a_gang_over_ipv6_alone_gives_the_same_bits(ipv6):
    fit = make_fit("mlp", shards=4, rows=100)
    wanted = without_times(run(fit, 1)[1])
    gang = FaultyGang(fit, 2, host="::1", options={"force_tcp": True})
    assert without_times(gang.run().history) == wanted
    assert address.towards("::1") == "::1"


def test_a_gang_that_encrypts_gives_the_same_bits():
    fit = make_fit("mlp", shards=4, rows=100)
    plain, hidden = (FaultyGang(fit, 2, options={"force_tcp": True, "encrypt": on}).run() for on in (False, True))
    assert without_times(hidden.history) == without_times(plain.history)
    assert all((hidden.weights[name] == weights).all() for name, weights in plain.weights.items())


def test_workers_listen_at_the_ports_that_they_are_given():
    fit = make_fit("mlp", shards=4, rows=100)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        first = taken.getsockname()[1]
        peers = Peers(bind="0.0.0.0", host="127.0.0.1", ports=(first, first + 30))
        gang = FaultyGang(fit, 2, options={"force_tcp": True}, peers=peers)
        assert gang.run().history["epochs"][-1]["bytes_sent"] > 0


@pytest.fixture
def settings(spark):
    """Sets settings of the session for one test."""
    told = []

    def tell(**values):
        for key, value in values.items():
            told.append(f"spark.stoker.{key.replace('_', '.')}")
            spark.conf.set(told[-1], value)

    yield tell
    for key in told:
        spark.conf.unset(key)


def test_a_fit_of_spark_listens_where_the_settings_say(spark, settings, ipv6):
    df = table(spark, *blobs(60))
    net = torch.nn.Linear(4, 3)
    estimator = StokerClassifier(model=net, numWorkers=2, batchSize=16, epochs=1, verbose=0)
    settings(driver_host="::1", driver_port="41000-41999", peer_ports="42000-42999")
    assert len(estimator.fit(df).history) == 1
    settings(driver_port="none")
    with pytest.raises(UserError, match=r"spark.stoker.driver.port is 'none'"):
        estimator.fit(df)


def test_a_fit_of_spark_that_encrypts_gives_the_same_bits(spark, settings):
    df = table(spark, *blobs(60))
    estimator = StokerClassifier(model=torch.nn.Linear(4, 3), numWorkers=2, batchSize=16, epochs=1, verbose=0, seed=1)
    plain = estimator.fit(df).history[0]["loss"]
    settings(network_encrypt="true")
    assert estimator.fit(df).history[0]["loss"] == plain
    settings(network_encrypt="perhaps")
    with pytest.raises(UserError, match=r"spark.stoker.network.encrypt is 'perhaps'"):
        estimator.fit(df)


def test_a_job_that_is_printed_keeps_its_secret():
    assert "hidden" not in repr(Job("there", 7337, b"hidden", 2, 4, "{}"))
