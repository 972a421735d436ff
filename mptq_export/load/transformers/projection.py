"""Towers with a projection give what is in front of it, too: the library's class hands on the projected vector only."""

from typing import Any

from torch import Tensor, nn


class ProjectedTower(nn.Module):
    """A tower of CLIP's kind, with all that it computes.

    Attributes:
        vision_model: the tower.
        visual_projection: what makes the vector of a picture that is compared with a text's.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.vision_model = model.vision_model
        self.visual_projection = model.visual_projection

    def forward(self, pixel_values: Tensor, **options: Any) -> dict[str, Tensor]:
        """`image_embeds` of the class, and the pooled and all tokens of its tower."""
        tower = self.vision_model(pixel_values=pixel_values, **options)
        return {
            "image_embeds": self.visual_projection(tower.pooler_output),
            "pooler_output": tower.pooler_output,
            "last_hidden_state": tower.last_hidden_state,
        }


def with_all_outputs(model: nn.Module) -> nn.Module:
    """The tower as it is, or as a `ProjectedTower` where the class keeps something back."""
    parts = {name for name, _ in model.named_children()}
    return ProjectedTower(model) if parts == {"vision_model", "visual_projection"} else model
