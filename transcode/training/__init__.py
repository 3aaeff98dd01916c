"""Training: models built from our own descriptions, tasks to train them on (extra `[train]`).

In come a `Model` and a task, out come scores, densities and a run folder. What is trained is what
is simulated: `build` makes a PyTorch module of a `Model`, with its parameters and its matrix
products, one by one. Only the commands that train import this. A new task is a loader in `tasks`.
"""
