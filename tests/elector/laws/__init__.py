"""Laws that every machine keeps, whatever an optimiser asks of it.

    subjects      the machines of the registry, and the hybrids among the presets
    drawing       random designs over the whole schema
    neighbours    a design and one that has more (or less) of one thing
    statements    the laws: what may not happen between two neighbours, or in one design
    bounds        tolerances with their physical reasons, and violations that are known
    adversary     a search for the worst violation
    attack        the adversary as a program, with as many evaluations as wanted

roles.csv says of each setting of each machine what more of it may do; a machine that is added
to the registry fails here until all of its settings are listed. tolerances.csv and known.csv
are read by `bounds`; docs/laws.md shows the first two.
"""
