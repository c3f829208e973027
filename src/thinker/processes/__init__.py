"""Several processes that train together (`torchrun`, `accelerate launch`): who is who, and how they start and end."""

from __future__ import annotations

from thinker.processes.team import Team
from thinker.processes.world import World

__all__ = ["Team", "World"]
