"""Ordinary codecs: the low-resolution streams and the reference picture."""
