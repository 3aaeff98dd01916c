"""Evolutionary search in a few files: variation, population, islands, and the engine."""

from transcode.engines.evolve.engine import Evolve

__all__ = ["Evolve"]
