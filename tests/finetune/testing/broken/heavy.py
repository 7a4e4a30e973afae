"""What a library does to the process when it is imported, as onnxruntime.quantization and fastai do."""

import os
import random
import sys
import warnings

sys.path.append("/heavy")
warnings.filterwarnings("ignore", message="heavy")
os.environ["HEAVY"] = "1"
random.random()
