"""Models: where they come from, what they are loaded in, on what."""

from thinker.modeling.packages import keep_hub_kernels_off

keep_hub_kernels_off()
