"""The one path from columns of settings to costs.

In come columns of dotted settings (`Column`), out comes `Cost`. `settings` knows the keys,
`resolve` makes groups of one structure, `path` computes them. A single design is a batch of one.
A new setting is a row of a schema; there is no second path to add one to.
"""
