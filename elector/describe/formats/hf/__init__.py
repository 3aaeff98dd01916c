"""Hugging Face configurations: a row of data/model_types.csv for each `model_type`.

A row says which layout reads it (decoders, encoders, ...), what its classes are called, and what
sets it apart: traits of the description, keys with other names, defaults of the class. Every key
of a configuration is read, known to change nothing (data/config_keys.csv), or refused by name.
"""
