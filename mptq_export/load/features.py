"""What feature maps a backbone gives, and how its ONNX file says so."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from mptq_export.support.errors import MptqError

#: Metadata of an ONNX file whose outputs are feature maps: what they are.
FEATURES_KEY = "mptq.features"


@dataclass(frozen=True)
class FeatureMap:
    """One map, [B, channels, height, width].

    Attributes:
        index: its number, as the library counts them; in timm a block of a ViT, a stage of a Swin.
        module: path of the module that gives it.
        channels: its channels.
        reduction: pixels of the image by positions of the map, along either side.
    """

    index: int
    module: str
    channels: int
    reduction: int

    @property
    def name(self) -> str:
        """Name of the ONNX output."""
        return f"features.{self.index}"


def features_text(features: tuple[FeatureMap, ...]) -> str:
    """The maps as an ONNX file's metadata has them."""
    return json.dumps([{"output": feature.name, **asdict(feature)} for feature in features])


def features_of(metadata: Mapping[str, str]) -> tuple[FeatureMap, ...]:
    """The maps that an ONNX file gives; empty for a classifier.

    Raises:
        MptqError: the metadata is damaged.
    """
    try:
        entries = json.loads(metadata.get(FEATURES_KEY, "[]"))
        return tuple(
            FeatureMap(int(e["index"]), str(e["module"]), int(e["channels"]), int(e["reduction"])) for e in entries
        )
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise MptqError(f"the file's {FEATURES_KEY} is damaged ({type(error).__name__}); export it again") from error
