"""The second opinion: an event-driven model of the same machines, one design at a time.

In comes one resolved design, out come its timeline and a trace for viewers. Closed forms are
checked against it, so none of their formulas is used. A new machine brings its own event model.
"""
