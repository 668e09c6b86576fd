"""What `ocd tasks` prints. Nothing here imports torch, so that the command answers at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Facts:
    """What a person wants to know of a task before starting it."""

    name: str
    module: str
    """The module below `ocd.tasks` that holds it."""
    summary: str
    data: str
    """What the data are and where they come from."""
    licence: str
    """Licence of the data."""
    size: str
    """What is downloaded."""
    minutes: str
    """Time of one seed, as measured."""


TEXT_SETS = {
    "sst5": ("sst5", "grades of film reviews, five classes: 8,544 to draw from, 2,210 to test"),
    "amazon-cf": (
        "amazon_counterfactual_en",
        "counterfactual statements in reviews: 4,018 to draw from, 670 to test",
    ),
    "cr": ("CR", "customer reviews, positive or negative"),
    "emotion": ("emotion", "six emotions of short messages: 16,000 to draw from, 2,000 to test"),
    "enron-spam": ("enron_spam", "mails, spam or not: 31,716 to draw from, 2,000 to test"),
    "sst2": ("sst2", "film reviews, positive or negative: 6,920 to draw from, 1,821 to test"),
    "subj": ("subj", "sentences, subjective or objective: 8,000 to draw from, 2,000 to test"),
    "trec": ("TREC-QC", "what a question asks for: 5,452 to draw from, 500 to test"),
}  # fmt: skip
"""Name of a set of texts -> its folder in SetFit/ on the hub, and what it is."""
PAPER_TEXT_SETS = ("sst5", "amazon-cf", "cr", "emotion", "enron-spam")
"""Those of the paper's table, over which it has an average."""
PAPER_SUITES: dict[str, dict[str, dict[str, tuple[float, float | None]]]] = {
    "setfit": {
        "SetFit": {
            "setfit-sst5": (43.6, 3.0), "setfit-amazon-cf": (40.3, 11.8), "setfit-cr": (88.5, 1.9),
            "setfit-emotion": (48.8, 4.5), "setfit-enron-spam": (90.1, 3.4), "average": (62.2, None),
        },
        "T-Few, 3 billion weights": {"average": (63.3, None)},
        "OCD, one draw": {
            "setfit-sst5": (47.8, None), "setfit-amazon-cf": (41.0, None), "average": (64.3, None),
        },
        "OCD, ensemble of 5": {"average": (64.8, None)},
    }
}  # fmt: skip
"""Of a suite: the paper's rows, by task and average, mean and deviation in per cent."""
SUITES: dict[str, tuple[str, ...]] = {"setfit": tuple(f"setfit-{name}" for name in PAPER_TEXT_SETS)}
"""Name of several tasks that are run one after another, with one table of all -> the tasks."""

_FACTS = (
    Facts(
        name="digits",
        module="images.digits",
        summary="8x8 handwritten digits with a small LeNet: the quick demo",
        data="scikit-learn's load_digits (UCI optical digits): 1,197 to train, 600 to test",
        licence="CC BY 4.0",
        size="nothing to download",
        minutes="about 2 on two CPU cores, with all baselines",
    ),
    Facts(
        name="mnist",
        module="images.mnist",
        summary="MNIST with the paper's LeNet5 (Sec. 4.1)",
        data="ylecun/mnist on the Hugging Face hub: 60,000 to train, 10,000 to test",
        licence="MIT",
        size="16 MB",
        minutes="12 to 13 a seed on two CPU cores, with all baselines",
    ),
    Facts(
        name="cifar10",
        module="images.cifar10",
        summary="CIFAR10 with GoogLeNet (Sec. 4.1), or with a ResNet whose weights you have",
        data="uoft-cs/cifar10 on the Hugging Face hub: 50,000 to train, 10,000 to test",
        licence="none stated",
        size="144 MB",
        minutes="about 40 a seed on two CPU cores with a trained base, --set base=FILE",
    ),
    Facts(
        name="tiny-imagenet",
        module="images.tiny_imagenet",
        summary="TinyImageNet with a frozen DeiT-B/16 (Sec. 4.1), whose head moves",
        data="zh-plus/tiny-imagenet on the Hugging Face hub: 100,000 to train, 10,000 to test",
        licence="none stated (images of ImageNet)",
        size="190 MB, and 350 MB for the network",
        minutes="not measured with DeiT; see its results for a smaller network",
    ),
    Facts(
        name="images",
        module="images.own_images",
        summary="your own folders of images: --set train=DIR --set test=DIR --set model=NAME",
        data="your own",
        licence="your own",
        size="the network, where it is one of the hub",
        minutes="that of your network for each image once, then a few",
    ),
    Facts(
        name="completion",
        module="images.completion",
        summary="the lower half of a digit (or photograph) from its upper one: whole answers are drawn",
        data="images of ylecun/mnist or uoft-cs/cifar10, at half their size",
        licence="MIT (MNIST), none stated (CIFAR10)",
        size="16 or 144 MB",
        minutes="about 30 a seed on a CPU core, with all baselines",
    ),
    Facts(
        name="series",
        module="series.forecasting",
        summary="scenarios of time series in your CSV: --set file=PATH --set horizon=24",
        data="your own; ETTh1 (oil temperature and loads of a transformer) if not named",
        licence="your own (ETTh1: CC BY-ND 4.0)",
        size="not downloaded: give --data-dir or file",
        minutes="about 4 a seed on a shared CPU core, with all baselines",
    ),
    Facts(
        name="california",
        module="tables.california",
        summary="California housing with an MLP (Sec. 4.4), and a predictive distribution",
        data="scikit-learn's fetch_california_housing: 16,512 districts to train, 4,128 to test",
        licence="none stated (1990 US census)",
        size="0.4 MB",
        minutes="about 18 on a CPU core, with all baselines",
    ),
    Facts(
        name="mslr",
        module="tables.mslr",
        summary="Microsoft learning to rank, Fold 1, as regression of grades (Sec. 4.4)",
        data="MSLR-WEB10K, Fold1/train.txt and Fold1/test.txt: 723,412 documents to train",
        licence="Microsoft Research licence, non-commercial",
        size="not downloaded: give --data-dir",
        minutes="not measured: the data are not at hand",
    ),
    Facts(
        name="ltr",
        module="tables.mslr",
        summary="learning to rank of any set in svmlight form, with NDCG@10",
        data="rank.train and rank.test: MQ2007 (42,158 documents), LightGBM's example (3,005)",
        licence="that of the set (LightGBM's example: MIT)",
        size="not downloaded: give --data-dir",
        minutes="about 6 on a CPU core, with all baselines",
    ),
    Facts(
        name="table",
        module="tables.table",
        summary="your own CSV or parquet file: --set path=FILE --set target=COLUMN",
        data="your own",
        licence="your own",
        size="nothing to download",
        minutes="about 18 on a CPU core for 16,512 rows, with all baselines",
    ),
    *(
        Facts(
            name=f"nerf-{scene}",
            module="views.nerf",
            summary=f"novel views of {scene} with TinyNeRF (Sec. 4.2)",
            data=f"the NeRF authors' synthetic {scene}: 80 views to train, 20 to test",
            licence=licence,
            size="not downloaded: give --data-dir",
            minutes="about 20 on a CPU core, with all baselines",
        )
        for scene, licence in {"lego": "CC BY-NC", "hotdog": "CC0", "drums": "CC BY"}.items()
    ),
    Facts(
        name="libri5mix",
        module="speech.separation",
        summary="five voices of one mixture with the gated LSTM, MulCat (Sec. 4.3)",
        data="Libri5Mix, or --set speakers=2 and 3 for Libri2Mix and Libri3Mix: 8 kHz, min, clean",
        licence="CC BY 4.0 (LibriSpeech)",
        size="not downloaded: give --data-dir",
        minutes="not measured: the data are not at hand",
    ),
    Facts(
        name="voices-mix",
        module="speech.separation",
        summary="the voices of mixtures made of any clips: --set speakers=2, --set voices=DIR",
        data="clips of speakers, speechocean762 if not named: 46 voices to train on, 20 others to test",
        licence="CC BY 4.0 (speechocean762)",
        size="not downloaded: give --data-dir",
        minutes="see its results: most of it goes into the base",
    ),
    *(
        Facts(
            name=f"setfit-{name}",
            module="text.sets",
            summary=f"few-shot text, {folder} with SetFit (8 texts a class)",
            data=f"SetFit/{folder} on the Hugging Face hub: {what}",
            licence="see the set's page on the hub",
            size="0.3 to 3 MB, and the sentence encoder",
            minutes="5 to 15 on a CPU core with MiniLM without the deep ensemble, twice that with it",
        )
        for name, (folder, what) in TEXT_SETS.items()
    ),
    Facts(
        name="text",
        module="text.sets",
        summary="your own texts and labels: --set train=FILE --set test=FILE (csv, parquet or jsonl)",
        data="your own",
        licence="your own",
        size="the sentence encoder",
        minutes="with eight texts of each of two classes as setfit-cr; longer with more",
    ),
)

CATALOG: dict[str, Facts] = {facts.name: facts for facts in _FACTS}
