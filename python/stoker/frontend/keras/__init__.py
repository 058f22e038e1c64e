"""Keras 3 models, compiled on Keras' torch backend. Imported only when a model comes from keras, which is optional."""
