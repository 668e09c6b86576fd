"""Few-shot classification of texts: SetFit, and OCD on its head or its last block.

`sets` has the tasks, of published data sets and of a user's own files. What they share knows nothing of
single sets: `options`, `reading` (files), `loading` (which examples a seed draws), `bodies` (a sentence
encoder as it is published), `tokens`, `network` (the torch module), `training` (SetFit's own), `reader`
(new texts).
"""
