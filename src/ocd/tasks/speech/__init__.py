"""Speech separation (Sec. 4.3 of the paper): one example is a whole mixture of voices, seconds long.

`sound.py` reads a file, `voices.py` and `librimix.py` the two kinds of data, `mixing.py` makes
mixtures, `separator.py` is the base (gated LSTMs, "MulCat"), `objective.py` its loss under the best
order of the voices, `describing.py` sums up I(x), and `separation.py` makes the tasks. Inputs
are waveforms (B, T), targets are the voices (B, C, T), which add up to them.
"""
