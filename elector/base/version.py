"""The version of the simulator, as results carry it."""

VERSION = "0.1.0"
