"""The blocks of image networks, in two styles: with group normalization, or preserving magnitudes."""
