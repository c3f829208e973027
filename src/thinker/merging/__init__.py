"""An adapter merged into its base model: weights, the proof that they do the same, and the folder they go to."""
