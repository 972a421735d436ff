"""What every way to a timm model finds out in the same way."""

from torch import nn

from mptq_export.load.file.checkpoint import Checkpoint


def class_map_of(checkpoint: Checkpoint) -> str | None:
    """The file that numbered the classes at training, where the checkpoint names one."""
    named = checkpoint.args.flag("class_map")
    return named if isinstance(named, str) else None


def fitting_names(names: tuple[str, ...] | None, model: nn.Module) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """Class names, if there is one for every logit, and what to tell if not."""
    logits = getattr(model, "num_classes", None)
    if names is None or logits in (None, len(names)):
        return names, ()
    return None, (f"{len(names)} class names are left out: the model has {logits} logits",)


def inference_ready(model: nn.Module) -> nn.Module:
    """The model in evaluation mode, float32, on the CPU, without gradients."""
    return model.float().cpu().eval().requires_grad_(False)
