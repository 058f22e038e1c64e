"""What a user writes, for the type checker: tests/test_signatures.py has it read this."""

import torch

import stoker
from stoker import StokerClassifier, UserError
from stoker.inputs import Category, Numeric

estimator = StokerClassifier(model=torch.nn.Linear(1, 2), inputs=[Category("a"), Numeric("b")], batchSize=32, epochs=3)
rows: int = estimator.setNumWorkers(2).setShuffle(False).getBatchSize()
error: type[stoker.StokerError] = UserError
