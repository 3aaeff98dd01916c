"""What people ask: costs of a design, explanations, sweeps, validation, training runs, lists.

In come names and settings, out come plain dictionaries and tables. Each study uses the one path;
a new study is a module here and a command in elector.cli.
"""

#: Kinds of files that have a JSON Schema (elector.studies.schemas).
SCHEMAS = (
    "space",
    "model",
    "accelerator",
    "technology",
    "plan",
    "operations",
    "sparsity",
    "measurements",
)
