"""Base models and what they run on: loading, devices, precision, determinism. Shared by training and evaluation."""
