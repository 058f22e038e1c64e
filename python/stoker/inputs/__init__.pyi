# Made by scripts/stubs.py.
from stoker.inputs.array import Array as Array
from stoker.inputs.category import Category as Category
from stoker.inputs.category import Hashed as Hashed
from stoker.inputs.dates import DateParts as DateParts
from stoker.inputs.declarations import as_inputs as as_inputs
from stoker.inputs.declarations import from_json as from_json
from stoker.inputs.declarations import sizes as sizes
from stoker.inputs.declarations import to_json as to_json
from stoker.inputs.declared import Declared as Declared
from stoker.inputs.fields import width as width
from stoker.inputs.image import Image as Image
from stoker.inputs.learning import learn as learn
from stoker.inputs.number import Numeric as Numeric
from stoker.inputs.text import Text as Text
from stoker.inputs.wrappers import Padded as Padded
from stoker.inputs.wrappers import Present as Present
