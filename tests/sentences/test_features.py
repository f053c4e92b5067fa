from sdclib.extract.backbones import BACKBONES
from tests.sentences.published import bench, csv, runs, says, states

TEXT = "features"


def test_bias():
    floats = runs("datasets").query("method == 'cosine'").set_index(["data", "center"])
    plain, centred = (floats.xs(center, level="center") for center in (False, True))
    states(
        TEXT,
        f"their mean cosine is {plain['negative_mean'].min():.2f} to {plain['negative_mean'].max():.2f}.",
    )
    pairs = csv("datasets_histograms").query("similarity < 0").set_index("id")[["positive", "negative"]]
    says(
        "no feature has a negative value, since the network ends in a ReLU, so even unlike images are similar",
        not pairs.loc[plain["id"]].any(axis=None),
    )
    moved = 100 * (centred["map_expected"] - plain["map_expected"])
    states(TEXT, f"without the bias expected mAP changes by {moved.min():.1f} to {moved.max():+.1f} points.")
    fall = plain[["positive_mean", "negative_mean"]] - centred[["positive_mean", "negative_mean"]]
    says(
        "Subtracting the mean of the training features takes it away. It lowers the cosines of positive pairs "
        "too, by less on all four sets",
        len(fall) == 4
        and centred["negative_mean"].abs().max() < 0.05
        and ((fall["positive_mean"] > 0) & (fall["positive_mean"] < fall["negative_mean"])).all(),
    )


def test_codes_that_cut_at_0():
    codes = 100 * runs("cifar10_closed").query("n_bits == 64").pivot_table(
        index="method", columns="center", values="map_expected"
    )
    sign, lsh = codes.loc["sign"], codes.loc["lsh"]
    states(
        TEXT,
        f"signs of CIFAR-10's features reach an expected mAP of {sign[False]:.1f} %, no more than chance, and of "
        f"{sign[True]:.1f} % without the bias.",
    )
    says("no more than chance", abs(sign[False] - 10) < 1)
    states(TEXT, f"LSH gains {lsh[True] - lsh[False]:.1f} points by centring.")


def test_networks():
    backbones = [f"`{name}`" for name in BACKBONES]
    states(TEXT, f"Backbones are {', '.join(backbones[:-1])} and {backbones[-1]}, and all of timm's")
    speed = bench("backbones")
    states(
        TEXT,
        f"On two threads EfficientNet-Lite0 makes features of {speed['images_per_second']['onnx']:.0f} images a "
        f"second by ONNX Runtime and of {speed['images_per_second']['torch']:.0f} by eager PyTorch",
    )
    says("they differ by less than 1e-5.", speed["largest_difference"] < 1e-5 and speed["threads"] == 2)
