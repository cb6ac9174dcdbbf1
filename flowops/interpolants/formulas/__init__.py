"""A small compiler of formulas in $t$: grammar over Python's syntax, sympy expressions, tapes of torch operations."""
