"""Programs equal PyTorch: loss, every gradient, buffers, weights after three steps; outputs of saved models."""

import json

import numpy as np
import pytest
import torch

from conformance import models
from conformance.harness import ROWS, Case, PythonRunner, check, engine, engine_of, infer_with_engine, same
from stoker.frontend import frozen
from stoker.frontend.interpret import Interpreter
from stoker.frontend.module import ProgramModule
from stoker.program import Compiled


@pytest.mark.parametrize("build", models.MODELS, ids=lambda build: build.__name__)
def test_training_equals_pytorch(build, runner):
    check(build(), runner)


@pytest.mark.parametrize("build", models.MODELS, ids=lambda build: build.__name__)
def test_frozen_parts_and_the_rest_are_the_whole(build):
    case = build()
    names = [name for name, parameter in case.model.named_parameters() if parameter.requires_grad]
    for count in {len(names) // 2, len(names) - 1} - {0}:
        compiled = case.compile(freeze=names[:count])
        cut = frozen.split(compiled.train, compiled.weights)
        if not isinstance(cut, str):
            whole = seeded_run(compiled, compiled.train, case.rows())
            same_step(seeded_run(compiled, cut.head, rows_of_the_rest(cut, compiled, case)), whole)


def rows_of_the_rest(cut, compiled, case):
    slots = {entry["slot"]: torch.tensor(compiled.weights[entry["name"]]) for entry in cut.trunk["constants"]}
    for entry, number in zip(cut.trunk["inputs"], cut.inputs(compiled.train), strict=True):
        slots[entry["slot"]] = case.rows()[number]
    found = Interpreter(cut.trunk).run(slots)
    return [case.rows()[number] for number in cut.kept] + [found[output["slot"]] for output in cut.trunk["outputs"]]


def seeded_run(compiled, program, rows):
    torch.manual_seed(3)
    return PythonRunner(program).run(compiled.weights, [row.numpy().copy() for row in rows])


def same_step(one, other):
    same("numerator", one["numerator"], other["numerator"])
    assert one["denominator"] == other["denominator"]
    for kind in ("gradients", "buffers"):
        assert one[kind].keys() == other[kind].keys()
        for name in one[kind]:
            same(name, one[kind][name], other[kind][name])


@pytest.mark.parametrize("build", models.MODELS, ids=lambda build: build.__name__)
def test_a_saved_model_computes_what_the_module_does(build, runner):
    case = build()
    compiled = Compiled.from_files(case.compile().to_files())
    expected = named(evaluated(case))
    got = saved_in_python(case, compiled) if runner is PythonRunner else saved_in_engine(case, compiled)
    assert got.keys() == expected.keys()
    for name in expected:
        same(name, got[name], expected[name])


@pytest.mark.parametrize("build", models.MODELS, ids=lambda build: build.__name__)
def test_a_row_has_the_same_bits_however_rows_are_cut(build):
    case = build()
    try:
        inference = engine_of(case.compile())
    except ImportError as error:
        pytest.skip(f"the engine is not built: {error}")
    rows = [np.concatenate([tensor.numpy()] * 40) for tensor in case.inputs.values()]
    rows = [values[np.random.default_rng(1).permutation(len(values))] for values in rows]
    whole = inference.run(rows)
    for cut in (1, 3, 64, 129):
        some = slice(0, 130)
        parts = [inference.run([values[begin : begin + cut] for values in rows]) for begin in range(0, 130, cut)]
        for column, all_rows in zip(zip(*parts), whole, strict=True):
            np.testing.assert_array_equal(np.concatenate(column)[some], all_rows[some])


def evaluated(case):
    inputs = {name: tensor.clone() for name, tensor in case.inputs.items()}
    with torch.no_grad():
        return case.model.eval()(**inputs) if len(inputs) > 1 else case.model.eval()(*inputs.values())


def saved_in_python(case, compiled):
    module = ProgramModule(compiled.infer, compiled.given())
    assert case.model.load_state_dict(module.state_dict()).missing_keys == []
    with torch.no_grad():
        return named(module(**{name: tensor.clone() for name, tensor in case.inputs.items()}))


def saved_in_engine(case, compiled):
    return infer_with_engine(compiled, [tensor.numpy() for tensor in case.inputs.values()])


def named(outputs):
    return {key: x.numpy() for key, x in (outputs if isinstance(outputs, dict) else {"output": outputs}).items()}


def test_dropout_is_keyed_and_keeps_the_mean():
    try:
        module = engine()
    except ImportError as error:
        pytest.skip(f"the engine is not built: {error}")
    model = torch.nn.Sequential(torch.nn.Dropout(0.25), torch.nn.Linear(4000, 1, bias=False))
    torch.nn.init.constant_(model[1].weight, 1 / 4000)
    x = torch.ones(ROWS, 4000)
    case = Case(model, lambda outputs, labels: outputs.mean(), {"x": x}, {"y": torch.zeros(ROWS)})
    compiled = case.compile()
    program = module.TrainProgram(json.dumps(compiled.train))
    rows = [tensor.numpy() for tensor in case.rows()]
    losses = {key: program.run(compiled.weights, rows, key)["numerator"] / ROWS for key in KEYS}
    again = {key: program.run(compiled.weights, rows, key)["numerator"] / ROWS for key in reversed(KEYS)}
    assert losses == again
    assert len(set(losses.values())) == len(KEYS)
    assert all(abs(loss - 1) < 0.02 for loss in losses.values())  # deviation: sqrt(1/3 / 32000) = 0.0032


KEYS = [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)]  # seed, epoch, step, shard
