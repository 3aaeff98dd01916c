"""Every format that the two programs read, changed at random: no input may end in a traceback.

`targets` has what is read and the commands that read it, `mutate` changes it, `attack` runs the
commands and judges what became of them. Input number i of a seed is always the same one.
"""
