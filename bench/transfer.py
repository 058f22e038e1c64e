"""A head on a frozen trunk: what running the trunk once for each row saves.

Run: make bench-transfer. Ten epochs of a dense layer behind dropout on Keras' MobileNetV2 at 64 x 64, without its top
and with random weights, by one worker with one thread; what the trunk gives is kept, or computed in each step
("cacheFrozen=False"). Seconds of training, the pass of the trunk included; medians of interleaved runs. The bar is six
times, and the same bits.
"""

import os
import statistics
import sys
import tempfile

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
from pyspark.sql import DataFrame

import report
import sides
from stoker import StokerClassifier

SIDE, CLASSES, ROWS, BATCH, EPOCHS, RUNS, BAR = 64, 10, 1024, 64, 10, 3, 6.0


def network() -> keras.Model:
    keras.utils.set_random_seed(1)
    trunk = keras.applications.MobileNetV2((SIDE, SIDE, 3), include_top=False, weights=None, pooling="avg")
    trunk.trainable = False
    layers = [keras.Input((SIDE, SIDE, 3)), trunk, keras.layers.Dropout(0.2)]
    return keras.Sequential([*layers, keras.layers.Dense(CLASSES, "softmax")])


def pictures() -> DataFrame:
    draw = np.random.default_rng(1)
    labels = draw.integers(0, CLASSES, ROWS)
    tones = draw.random((CLASSES, 1, 1, 3))
    pixels = (draw.random((ROWS, SIDE, SIDE, 3)) + tones[labels] - 1).astype(np.float32).reshape(ROWS, -1)
    rows = [(row.tolist(), int(label)) for row, label in zip(pixels, labels, strict=True)]
    return sides.session(1).createDataFrame(rows, "features array<float>, label int").cache()


def compiled() -> StokerClassifier:
    """Saved and loaded, so that it is compiled once."""
    made = StokerClassifier(model=network(), epochs=EPOCHS, batchSize=BATCH, numShards=2, numWorkers=1,
                            learningRate=1e-3, verbose=0)  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        made.save(f"{folder}/estimator")
        return StokerClassifier.load(f"{folder}/estimator")


def main() -> int:
    rows, estimator = pictures(), compiled()
    rows.count()
    pairs = [[estimator.copy().setCacheFrozen(keep).fit(rows) for keep in (True, False)] for _ in range(RUNS)]
    ours, theirs = (statistics.median(pair[side].history.phases["train"] for pair in pairs) for side in (0, 1))
    bits = {model.history.info["digest"] for pair in pairs for model in pair}
    print(f"kept: {pairs[0][0].history.info['frozen']}; losses {pairs[0][0].history[0]['loss']:.4f} to "
          f"{pairs[0][0].history[-1]['loss']:.4f}; {len(bits)} digest(s) of {2 * RUNS} fits")  # fmt: skip
    holds = theirs / ours >= BAR and len(bits) == 1
    report.row("transfer", f"frozen MobileNetV2, {EPOCHS} epochs", ours, theirs, "not kept", "s", theirs / ours, BAR,
               holds)  # fmt: skip
    return 0 if report.finish() else 1


if __name__ == "__main__":
    sys.exit(main())
