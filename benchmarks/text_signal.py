"""Is there anything in I(x) that tells a wrong answer from a right one, and a label from another?

    python -m benchmarks.text_signal RUN ...

Of runs of texts on the head. I(x) is what the head sees and answers: the embedding and the logits. A
logistic regression of each test text's label is fitted on I(x) of other test texts: as many as OCD had
lessons, then more and more, up to half of the test set. It uses test labels, so it is no method: it
says how many labelled texts it takes until the embedding gives more than the base's own head does.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from ocd.data import seeded
from ocd.evaluation import auroc
from ocd.runs import Run
from ocd.tasks import kept_in

REPEATS = 5


def signal(run: Run, seed: int) -> dict[str, object]:
    """What the test texts of a seed say: the base's accuracy, how well its entropy finds its errors,
    how well a classifier of I(x) does, and the same of labels, with more and more labelled texts."""
    run = run.at(seed)
    base = run.base(seed)
    with kept_in(run.root / "features"), torch.no_grad():
        inputs = run.data.test.inputs
        seen = base.embeddings(inputs)
        logits = base(inputs)
    labels = run.data.test.targets
    wrong = (logits.argmax(dim=1) != labels).numpy()
    entropy = torch.distributions.Categorical(logits=logits).entropy().numpy()
    features = torch.cat([seen, logits], dim=1).numpy()
    half = len(labels) // 2
    sizes = [size for size in (len(run.examples), 50, 200, 1000) if size < half] + [half]
    return {
        "accuracy": 100 * float((~wrong).mean()),
        "auroc_entropy": auroc(entropy, wrong.astype(int)),
        "auroc_probe": {n: _probe(features, wrong, n, half, find=True) for n in sizes},
        "accuracy_probe": {n: _probe(features, labels.numpy(), n, half, find=False) for n in sizes},
    }


def _probe(features: np.ndarray, what: np.ndarray, size: int, half: int, *, find: bool) -> float:
    """Mean over repeats: the AUROC of wrong answers (`find`), or the accuracy of labels, of a
    regression on `size` texts of one half, judged on the other."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    found = []
    for repeat in range(REPEATS):
        order = torch.randperm(len(what), generator=seeded(repeat)).numpy()
        train, test = order[:half][:size], order[half:]
        if len(set(what[train].tolist())) < 2:
            continue
        fitted = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
        fitted.fit(features[train], what[train])
        if find:
            found.append(auroc(fitted.predict_proba(features[test])[:, 1], what[test].astype(int)))
        else:
            found.append(100 * float((fitted.predict(features[test]) == what[test]).mean()))
    return float(np.mean(found)) if found else float("nan")


def main() -> None:
    """A row for each run and seed, as Markdown."""
    head = ("run", "seed", "base [%]", "entropy finds errors", "I(x) finds errors", "I(x) finds labels")
    print("| " + " | ".join(head) + " |")
    print("| --- | ---: | ---: | ---: | --- | --- |")
    for place in sys.argv[1:]:
        run = Run.open(Path(place))
        for seed in run.seeds:
            if not run.base_path(seed).exists():
                continue
            of = signal(run, seed)
            probe, labels = of["auroc_probe"], of["accuracy_probe"]
            assert isinstance(probe, dict) and isinstance(labels, dict)
            cells = [
                Path(place).name, str(seed), f"{of['accuracy']:.1f}", f"{of['auroc_entropy']:.2f}",
                ", ".join(f"{n}: {value:.2f}" for n, value in probe.items()),
                ", ".join(f"{n}: {value:.1f}" for n, value in labels.items()),
            ]  # fmt: skip
            print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
