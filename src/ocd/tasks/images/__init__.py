"""Classifiers of images: digits, MNIST, CIFAR10, TinyImageNet, and a user's own folders.

Two kinds of tasks. In the first the whole network is the base, and images are (B, C, H, W) with pixels
from 0 to 1: `digits.py`, `mnist.py` and `cifar10.py` have the data, the network and the settings of one
task each, `own.py` the user's network in their place. What they share:

* `classification.py`: the loss, how draws are joined, the training of a small base; `recipe.py`: that
  of a network for CIFAR10
* `augmentation.py`: what images go through before they are overfitted; `corruption.py`: a shift, for
  those who want to see what it does
* `encoder.py`: networks over x for the condition; `googlenet.py` and `resnet.py`: the published bases,
  which normalise their images themselves (`normalised.py`)

In the second kind the body of a network is frozen, and the base is what is left behind it: `frozen.py`
makes such a task of some images, `tiny_imagenet.py` and `own_images.py` say which. `body.py` has the
network in front of its last layers, `features.py` what these see of each image, computed once, and
`heads.py` the last layers themselves.

Files of images are found by `files.py` and `hub_images.py` and read by `decoding.py`, new ones by
`reader.py` and `feature_reader.py`. Targets are classes (B,), and draws answer as one by the mean of
their probabilities.
"""
