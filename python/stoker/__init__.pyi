# Made by scripts/stubs.py.
from stoker.callback import Callback as Callback
from stoker.errors import AbortedError as AbortedError
from stoker.errors import BugError as BugError
from stoker.errors import CompileError as CompileError
from stoker.errors import StokerError as StokerError
from stoker.errors import UserError as UserError
from stoker.errors import WorldError as WorldError
from stoker.frontend.onnx.build import from_onnx as from_onnx
from stoker.health.doctor import doctor as doctor
from stoker.history import History as History
from stoker.ml.estimators import StokerClassifier as StokerClassifier
from stoker.ml.estimators import StokerEstimator as StokerEstimator
from stoker.ml.estimators import StokerRegressor as StokerRegressor
from stoker.ml.featurizer import StokerFeaturizer as StokerFeaturizer
from stoker.ml.functions import function as function
from stoker.ml.functions import register_function as register_function
from stoker.ml.models import StokerClassificationModel as StokerClassificationModel
from stoker.ml.models import StokerModel as StokerModel
from stoker.ml.models import StokerRegressionModel as StokerRegressionModel
from stoker.ml.onnx import StokerOnnxModel as StokerOnnxModel
from stoker.ml.range_test import RangeTest as RangeTest
from stoker.ml.texts import StokerTextClassificationModel as StokerTextClassificationModel
from stoker.ml.texts import StokerTextClassifier as StokerTextClassifier
from stoker.ml.texts import StokerTextRegressionModel as StokerTextRegressionModel
from stoker.ml.texts import StokerTextRegressor as StokerTextRegressor
from stoker.ml.transfer import replace_head as replace_head
from stoker.strategy import AEASGD as AEASGD
from stoker.strategy import AGN as AGN
from stoker.strategy import EAMSGD as EAMSGD
from stoker.strategy import DiLoCo as DiLoCo
from stoker.strategy import DistanceADAG as DistanceADAG
from stoker.strategy import Downpour as Downpour
from stoker.strategy import DynSGD as DynSGD
from stoker.strategy import Hogwild as Hogwild
from stoker.strategy import LocalSGD as LocalSGD

__version__: str
