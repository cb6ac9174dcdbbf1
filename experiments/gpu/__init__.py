"""The figures that want a GPU, in stages that fit into minutes; see `python -m experiments.gpu --help`."""
