"""Tables (Sec. 4.4): California housing, learning to rank, and a user's own file.

`networks.py` and `training.py` have the bases of Gorishniy et al. (2021) and their training in folds:
OCD learns from the residuals of a network that has not seen the example. `reading.py`, `features.py`,
`dates.py` and `targets.py` turn a file into numbers. `regression.py` says what the tasks share;
`california.py`, `mslr.py` and `table.py` make them. Inputs are features (B, D); targets are numbers
(B, 1) in their own unit, or classes (B,).
"""
