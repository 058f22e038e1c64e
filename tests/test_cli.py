"""Jobs by file: what is wrong in one is told before Spark is asked, and each end has its exit code."""

import json

import pytest

from conftest import blobs, table
from stoker import AbortedError, UserError, WorldError
from stoker.cli import job, main, train

NETWORKS = "from torch import nn\n\ndef build():\n    return nn.Linear(4, 3)\n\nloss = nn.CrossEntropyLoss()\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "cli_networks.py").write_text(NETWORKS)
    return tmp_path


def config(folder, name="job.json", **told):
    path = folder / name
    path.write_text(json.dumps(told))
    return str(path)


def fit_job(folder, rows, **more):
    params = {"epochs": 2, "verbose": 0, "loss": "python:cli_networks:loss", "checkpointDir": str(folder / "kept")}
    told = {"estimator": "StokerClassifier", "model": "cli_networks:build", "params": params, "data": str(rows)}
    return config(folder, **told, output=str(folder / "model"), **more)


@pytest.mark.parametrize(
    ("told", "text"),
    [
        ({"estimator": "StokerClassifier", "modell": "a:b"}, "has 'modell', which is not known; did you mean 'model'?"),
        ({"estimator": "StokerClasifier", "model": "cli_networks:build"}, "did you mean 'StokerClassifier'?"),
        ({"estimator": "StokerClassifier"}, "has no 'model'"),
        ({"estimator": "StokerClassifier", "model": "build"}, "'build' must be module:name"),
        ({"estimator": "StokerClassifier", "model": "cli_networks:bild"}, "'cli_networks:bild' cannot be had"),
        (
            {"estimator": "StokerClassifier", "model": "cli_networks:build", "params": {"epoch": 1}},
            "no parameter 'epoch'",
        ),
        ({"estimator": "StokerClassifier", "model": "cli_networks:build", "params": 3}, "params must be keys with"),
    ],
)
def test_what_is_wrong_in_a_job_is_told_by_file_and_key(folder, told, text):
    path = config(folder, **told)
    with pytest.raises(UserError) as error:
        train.estimator_of(job.read(path, train.KEYS["fit"]))
    assert text in str(error.value) and "job.json" in str(error.value)


def test_sections_and_files_that_cannot_be_read_are_told(folder):
    told = job.read(config(folder, data={"path": "a", "table": "b"}), ("data",))
    with pytest.raises(UserError, match="data needs a path or a table"):
        told.section("data", job.READING)
    for name, text, message in (
        ("a.json", "{", "is no JSON"),
        ("a.yaml", "a: [", "is no YAML"),
        ("b.json", "3", "must be"),
    ):
        (folder / name).write_text(text)
        with pytest.raises(UserError, match=message):
            job.read(str(folder / name), ())
    (folder / "c.json").write_bytes(b'{"data": "\xff"}')
    with pytest.raises(UserError, match="no text in UTF-8"):
        job.read(str(folder / "c.json"), ("data",))
    with pytest.raises(UserError, match=r"data\.options must be keys with values, not 'header'"):
        job.read(config(folder, data={"path": "a", "options": "header"}), ("data",)).section("data", job.READING)
    assert main(["fit", "--config", str(folder / "none.yaml")]) == 2


def test_a_key_without_a_value_is_not_there(folder):
    told = job.read(config(folder, params=None, data={"path": "a", "options": None}), ("params", "data"))
    assert "params" not in told.told and told.section("data", job.READING) == {"path": "a"}


def test_values_of_a_file_can_be_set_on_the_command_line(folder):
    path = config(folder, data={"path": "a"}, params={"epochs": 2}, overwrite=False)
    changes = ["params.epochs=5", "params.checkpointDir=kept/2026-01-01", "overwrite=true", "data.where=day = '1=1'",
               "output.path=b", "data.path=null"]  # fmt: skip
    told = job.read(path, ("data", "params", "overwrite", "output"), changes).told
    assert told["params"] == {"epochs": 5, "checkpointDir": "kept/2026-01-01"} and told["overwrite"] is True
    assert told["data"] == {"path": None, "where": "day = '1=1'"} and told["output"] == {"path": "b"}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("epochs", "--set epochs: it must be KEY=VALUE, such as params.epochs=5"),
        ("params..epochs=5", "it must be KEY=VALUE"),
        ("data.where=x", "what --set data.where leads into must be keys with values, not 'rows'"),
        ("modell=x", "has 'modell', which is not known; did you mean 'model'?"),
    ],
)
def test_a_value_that_cannot_be_set_is_told(folder, change, text):
    with pytest.raises(UserError) as error:
        job.read(config(folder, data="rows"), ("data", "model"), [change])
    assert text in str(error.value)


@pytest.mark.parametrize(("error", "code"), [(UserError, 2), (WorldError, 3), (AbortedError, 1)])
def test_each_end_has_its_code(monkeypatch, folder, spark, error, code, capsys):
    def fail(*_):
        raise error("so it was")

    monkeypatch.setattr(train, "estimator_of", fail)
    assert main(["fit", "--config", config(folder)]) == code
    assert capsys.readouterr().err == "stoker: so it was\n"


def test_a_job_trains_saves_scores_and_goes_on_where_it_was(spark, folder, capsys):
    rows = folder / "rows"
    table(spark, *blobs(300)).write.parquet(str(rows))
    path = fit_job(folder, rows)
    assert main(["fit", "--config", path]) == 0
    assert main(["fit", "--config", path]) == 2  # it is there already
    assert "exists already" in capsys.readouterr().err
    assert main(["fit", "--config", fit_job(folder, rows, overwrite=True)]) == 0
    model = train.load(spark, job.Job(folder, {"model": str(folder / "model")}))
    assert model.history.info["resumed_from"] > 0
    scored = config(folder, model=str(folder / "model"), data={"path": str(rows), "where": "label < 2"},
                    output={"path": str(folder / "scored"), "format": "json"})  # fmt: skip
    assert main(["transform", "--config", scored]) == 0
    assert {row.label for row in spark.read.json(str(folder / "scored")).select("label").collect()} == {0, 1}


def test_a_model_that_is_not_there_is_told(spark, folder):
    path = config(folder, model=str(folder / "none"), data=str(folder))
    assert main(["evaluate", "--config", path]) == 2
