"""A place behind a matrix product, where activations may be pruned: DynaProp's own."""

from __future__ import annotations

from transcode.dynaprop.site import Site

__all__ = ["Site"]
