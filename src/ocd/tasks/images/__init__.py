"""Classifiers of images: digits, MNIST."""
