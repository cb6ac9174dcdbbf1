"""The papers' recipes for CIFAR-10, one file each: their settings, their figures beside ours, and a day's variant.

python -m experiments.recipes.cifar10_lsd --data PATH                 # as the paper has it
python -m experiments.recipes.cifar10_lsd --data PATH --one-day       # what fits one day of one H200
python -m experiments.recipes.table                                   # experiments/results/recipes.md
"""
