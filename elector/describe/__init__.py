"""What the user brings: models, workloads and the files they are read from.

In come names, YAML, Hugging Face configurations, FlexiBERT dictionaries and lists of products;
out come frozen descriptions (`Model`, `Models`, `Workload`). A new file format is a reader in
`formats`; no machine and no price is known here.
"""
