"""The network: tensors in, tensors out; no bytes, no files, no clock.

Shapes are [B, C, H, W], colours 0..1 RGB. A *flow* is [B, 2, H, W] in fractions of the picture's
side (x, y): a target pixel at p is found in the reference at p + flow. Being a fraction, a flow
keeps its values when it is resized.
"""
