"""Classifiers of images: scikit-learn's digits and MNIST, with what both need.

`classification.py` has the losses, the augmentation, the encoder of x and the training of a base;
`digits.py` and `mnist.py` have the data, the network and the settings of one task each. Images are
(B, 1, H, W) with pixels from 0 to 1, targets are classes (B,), and draws answer as one by the mean of
their probabilities.
"""
