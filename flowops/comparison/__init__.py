"""Which method to take: rows, schedules and couplings trained alike under several seeds, in one table and figure."""

from flowops.comparison.compare import compare
from flowops.comparison.comparison import Comparison
from flowops.comparison.entry import Protocol
from flowops.comparison.outcome import Measured, Outcome
from flowops.comparison.row import Row, Spread

__all__ = ["Comparison", "Measured", "Outcome", "Protocol", "Row", "Spread", "compare"]
