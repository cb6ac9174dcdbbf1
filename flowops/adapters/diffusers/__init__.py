"""The models and schedulers of diffusers: as two-time networks, as velocity fields, and written out for it."""
