"""A page to try a fitted run: one's own input, and what base, draws and ensemble say of it."""

from ocd.demo.serving import Address, serve

__all__ = ["Address", "serve"]
