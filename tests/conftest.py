"""Settings of the whole suite."""

import torch

# The tests' tensors are tiny. Beside another busy process two OpenMP threads wait for each other at
# each of them: a test of 2 s was measured at 113 s.
torch.set_num_threads(1)
