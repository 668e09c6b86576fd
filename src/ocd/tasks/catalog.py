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
        summary="a small stand-in for mslr: the same format and grades, other features",
        data="LightGBM's learning-to-rank example (rank.train, rank.test): 3,005 documents to train",
        licence="MIT",
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
)

CATALOG: dict[str, Facts] = {facts.name: facts for facts in _FACTS}
