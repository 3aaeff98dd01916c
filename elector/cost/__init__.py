"""From busy seconds and counts to seconds, joules and square millimetres of a design.

In comes the activity of a machine, out come its schedule, the clock a power limit allows, the
programming of its weights, and its costs under the prices of a technology. A machine is never
named here; a new result is a row of data/results.csv and a formula in elector.evaluation.formulas.
"""
