"""Whether a network can be trained through its forward derivatives, and which of its modules stands in the way."""

from flowops.networks.audit.audit import Audit, Finding, audit, fill_zeros

__all__ = ["Audit", "Finding", "audit", "fill_zeros"]
