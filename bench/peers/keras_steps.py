"""keras.fit on TensorFlow, one thread: a case's name as argument; each line of the standard input is a number of steps,
each line of the output the seconds of one."""

import sys
from pathlib import Path

import tensorflow as tf

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from keras_cases import CASES, KerasFit


def main() -> None:
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    fit = KerasFit(CASES[sys.argv[1]])
    for line in sys.stdin:
        print(fit(int(line)), flush=True)


if __name__ == "__main__":
    main()
