"""What every other room stands on: errors, units, tables, segments, writing output.

In comes text or arrays, out come checked values in SI units or an error that names file, field
and value. Nothing here knows transformers or machines; a new helper belongs here only if two
rooms need it.
"""
