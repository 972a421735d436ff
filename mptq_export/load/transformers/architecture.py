"""Which class of transformers a folder's weights go into: its own, or the part of it that sees pictures."""

from dataclasses import dataclass
from typing import Any

from mptq_export.load.transformers.folder import Folder
from mptq_export.load.transformers.library import first_line
from mptq_export.support.errors import MptqError


@dataclass(frozen=True)
class Part:
    """The part of a larger model that takes pixels alone.

    Attributes:
        name: of its class in transformers.
        rest: how the names of the weights begin that it leaves, and what they are.
        renamed: outputs by other names than the class has: those of the whole model.
    """

    name: str
    rest: dict[str, str]
    renamed: dict[str, str]


_TEXT = {
    "text_model.": "the text tower",
    "text_projection.": "the text tower",
    "logit_scale": "the text tower",
    "logit_bias": "the text tower",
}
_DECODER = {"decoder.": "the decoder"}

PARTS = {
    "CLIPModel": Part("CLIPVisionModelWithProjection", _TEXT, {}),
    "MetaClip2Model": Part("MetaClip2VisionModelWithProjection", _TEXT, {}),
    "SiglipModel": Part("SiglipVisionModel", _TEXT, {}),
    "SamModel": Part(
        "SamVisionModel",
        {
            "prompt_encoder.": "the prompt encoder",
            "mask_decoder.": "the mask decoder",
            "shared_image_embedding.": "the prompt encoder",
        },
        {"last_hidden_state": "image_embeddings"},
    ),
    "ViTMAEForPreTraining": Part("ViTMAEModel", _DECODER, {}),
    "ViTForMaskedImageModeling": Part("ViTModel", _DECODER, {}),
    "DeiTForMaskedImageModeling": Part("DeiTModel", _DECODER, {}),
    "SwinForMaskedImageModeling": Part("SwinModel", _DECODER, {}),
    "Swinv2ForMaskedImageModeling": Part("Swinv2Model", _DECODER, {}),
    "BeitForMaskedImageModeling": Part("BeitModel", {"lm_head.": "the head of the pretraining"}, {}),
}
"""Models of which one part is taken."""


@dataclass(frozen=True)
class Architecture:
    """What is built.

    Attributes:
        folder: where it comes from.
        whole: name of the class whose weights the folder has.
        built: the class that is built.
        config: its configuration, an object of the library.
        part: what of the whole it is; None where it is the whole.
    """

    folder: Folder
    whole: str
    built: Any
    config: Any
    part: Part | None

    @property
    def name(self) -> str:
        """Of the class that is built."""
        return str(self.built.__name__)

    @property
    def vision(self) -> Any:
        """The configuration that has size and channels of the input."""
        return getattr(self.config, "vision_config", None) or self.config


def architecture_of(library: Any, folder: Folder, name: str = "") -> Architecture:
    """The class, and its configuration.

    Args:
        library: transformers.
        folder: with a config.json.
        name: of the class, where it is not the one that config.json names.

    Raises:
        MptqError: there is no such class, it takes other things than pictures, or its configuration cannot be read.
    """
    whole = name or folder.architecture
    if not whole:
        raise MptqError(
            f"{folder.path}/config.json names no class (architectures): nothing says what the weights are; save the "
            "model with save_pretrained"
        )
    part = PARTS.get(whole)
    built = _class(library, folder, part.name if part else whole)
    try:
        config = library.AutoConfig.from_pretrained(folder.path, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise MptqError(
            f"transformers {library.__version__} cannot read {folder.path}/config.json ({first_line(error)}); save "
            "the model with it again, or install the version that wrote it"
        ) from error
    inner: Any
    for inner in (config, getattr(config, "backbone_config", None)):
        if getattr(inner, "use_pretrained_backbone", False):
            inner.use_pretrained_backbone = False  # its weights are in the folder, too
    if part is not None and hasattr(config, "vision_config"):
        # The projection belongs to both towers: the whole configuration has its width.
        width = getattr(config, "projection_dim", None)
        config = config.vision_config
        if width is not None:
            config.projection_dim = width
    if name and not isinstance(config, built.config_class):
        raise MptqError(
            f"{folder.path} is of model_type {folder.model_type}, and the adapter was made for a {name[:80]}; give the "
            "base that it was trained on with --base"
        )
    if not isinstance(config, built.config_class):
        raise MptqError(
            f"{folder.path}/config.json contradicts itself: model_type {folder.model_type} and architectures {whole}; "
            "get the folder again"
        )
    return Architecture(folder, whole, built, config, part)


def _class(library: Any, folder: Folder, name: str) -> Any:
    found: Any = getattr(library, name, None)
    is_class = isinstance(found, type) and issubclass(found, library.PreTrainedModel)
    if not is_class:
        raise MptqError(
            f"{folder.path} is a {name[:80]} (model_type {folder.model_type}), which transformers "
            f"{library.__version__} does not have; install a version that has it"
        )
    if found.main_input_name != "pixel_values":
        raise MptqError(
            f"{folder.path} is a {name} (model_type {folder.model_type}), whose input is "
            f"{str(found.main_input_name)[:40]}, not pictures alone; give the folder of a vision model, or save its "
            "vision part with save_pretrained"
        )
    return found
