"""What parameters give the public classes (keywords, setters, getters), in the eyes of a type checker: accessors.pyi,
which scripts/stubs.py writes from the parameters themselves. Here, where ml/params.py makes them, there is nothing."""


class ClassifierAccessors: ...


class RegressorAccessors: ...


class EstimatorAccessors: ...


class ClassificationModelAccessors: ...


class RegressionModelAccessors: ...


class ModelAccessors: ...
