"""Keras models in files: .keras, and .h5 of whole models."""

from __future__ import annotations

import zipfile
from pathlib import Path

import keras

from stoker.errors import UserError

_H5 = (".h5", ".hdf5")


def load(path: str) -> keras.Model:
    """The model of a file, with what it was compiled with. UserError says what stands in the way."""
    if not Path(path).is_file():
        raise UserError(f"model: there is no file {path!r} on the driver")
    _check_whole(path)
    try:
        return keras.saving.load_model(path)
    except Exception as error:  # whatever Keras and the classes of the model raise
        raise UserError(f"model: Keras cannot load {path!r} ({_first(error)}){_cure(path, error)}") from error


def _check_whole(path: str) -> None:
    weights = "only has weights: build the model, call its load_weights, and give the model"
    if path.endswith(_H5):
        import h5py

        if not h5py.is_hdf5(path):
            raise UserError(f"model: {path!r} is no HDF5 file")
        with h5py.File(path, "r") as file:
            if "model_config" not in file.attrs:
                raise UserError(f"model: {path!r} {weights}")
    elif not zipfile.is_zipfile(path):
        raise UserError(f"model: {path!r} is no file that Keras 3's model.save() wrote")


def _first(error: Exception) -> str:
    """Keras' last words are the cause; what goes before is a configuration of pages."""
    lines = (str(error).strip() or type(error).__name__).splitlines()
    return lines[0][:300]


def _cure(path: str, error: Exception) -> str:
    if "ould not locate" in str(error) or "nknown layer" in str(error):
        return (": import the module that has the class and marks it with keras.saving.register_keras_serializable() "
                "before fit")  # fmt: skip
    if path.endswith(_H5):
        return f": Keras does not read all models that it writes as {Path(path).suffix}; save it as .keras"
    return ""
