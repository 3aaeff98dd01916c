"""Several machines in one design: read from a file, given their operations, put together.

In come descriptions of units, links and rules; out comes an activity like that of one machine.
Records of machines merge themselves (elector.machines.records): a new record needs no change here.
"""
