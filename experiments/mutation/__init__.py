"""Mutation of the library: a small error is put into one place of a module, and the checks must see it.

python -m experiments.mutation --package maps --sample 40 --seed 0
"""
