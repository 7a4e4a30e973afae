"""Backbones cut into stages, heads, and the weights that go into them; torch, and no fastai."""
