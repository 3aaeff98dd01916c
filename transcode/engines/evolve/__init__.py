"""Evolutionary search in a few files: variation, population, islands, and the engine."""

from transcode.engines.evolve.engine import Evolve
from transcode.engines.evolve.guided import Guided

__all__ = ["Evolve", "Guided"]
