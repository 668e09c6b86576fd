"""Saved generators: their files, their model cards, and how they are pushed to a hub and fetched."""

from ocd.hub.card import NOT_MEASURED, CardFacts, base_in_words, model_card
from ocd.hub.checkpoint import FORMAT_VERSION, Checkpoint, load_checkpoint, save_checkpoint
from ocd.hub.exchange import FetchOptions, PushOptions, fetched_folder, push_generator

__all__ = [
    "FORMAT_VERSION",
    "NOT_MEASURED",
    "CardFacts",
    "Checkpoint",
    "FetchOptions",
    "PushOptions",
    "base_in_words",
    "fetched_folder",
    "load_checkpoint",
    "model_card",
    "push_generator",
    "save_checkpoint",
]
