"""LeRobotDataset v3.0 in and out, without lerobot itself: the names that the other rooms use."""

from score_rl.data.dataset import ACTION, OBSERVATION, Dataset, load_dataset
from score_rl.data.layout import Feature
from score_rl.data.writer import DatasetWriter, EpisodeValue

__all__ = [
    "ACTION",
    "OBSERVATION",
    "Dataset",
    "DatasetWriter",
    "EpisodeValue",
    "Feature",
    "load_dataset",
]
