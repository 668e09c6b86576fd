"""Baselines that are trained on the same examples, and for as many steps, as OCD's generator.

* delta_regression: the same MLP on the same condition predicts the delta itself, without diffusion.
* label_head: the same MLP on the same condition corrects f(x). It is trained on the label, and so
  answers "why not just train more?".
* label_network: the encoder of x and the same MLP predict the label, without the base.
* label_network_equal_time: label_network, trained for as many seconds as OCD.
* fine_tuned_layer: the weight that OCD moves is tuned once, for all examples.

All are trained by the generator's own `Trainer`: the same batches, learning rates, averaging of weights
and resumption.

    fit = MainFit(ocd, main_folder, dataset)           # a fitted OCD and what it learned from
    fit_baseline("label_head", fit, folder)
    baseline = load_baseline("label_head", ocd, few_inputs, folder)
    baseline.predict(inputs)
"""
