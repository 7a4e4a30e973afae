"""The domain types: what plugins register, what the rooms hand to each other. No torch in here.

Plugins register *facts*, not objects: a name, a summary, and ``"package.module:function"`` strings that are
imported on first use, so that listing everything that is installed costs almost nothing.
"""

from finetune.types.backbones import Backbone, Weights
from finetune.types.common import Part, Reporter, Task
from finetune.types.datasets import Columns, Dataset, DatasetRequest, DatasetSpec, Example, Recipe, Source
from finetune.types.extras import Answered, CallbackRequest, Command, Metric, TrainingCallback
from finetune.types.reports import (
    Block,
    Confusion,
    Figure,
    Gallery,
    HeatMap,
    LabelError,
    LabelErrors,
    Paragraph,
    Picture,
    PictureMap,
    PictureProblem,
    Place,
    Point,
    ReportSection,
    RunPictures,
    RunRecords,
    Table,
)
from finetune.types.results import Pretrained, RateCurve, RunResult, Verification
from finetune.types.targets import Artifact, ExportRequest, ExportTarget
from finetune.types.weight_records import WeightRecord

__all__ = [
    "Answered",
    "Artifact",
    "Backbone",
    "Block",
    "CallbackRequest",
    "Columns",
    "Command",
    "Confusion",
    "Dataset",
    "DatasetRequest",
    "DatasetSpec",
    "Example",
    "ExportRequest",
    "ExportTarget",
    "Figure",
    "Gallery",
    "HeatMap",
    "LabelError",
    "LabelErrors",
    "Metric",
    "Paragraph",
    "Part",
    "Picture",
    "PictureMap",
    "PictureProblem",
    "Place",
    "Point",
    "Pretrained",
    "RateCurve",
    "Recipe",
    "ReportSection",
    "Reporter",
    "RunPictures",
    "RunRecords",
    "RunResult",
    "Source",
    "Table",
    "Task",
    "TrainingCallback",
    "Verification",
    "WeightRecord",
    "Weights",
]
