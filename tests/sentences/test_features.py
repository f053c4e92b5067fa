from tests.sentences.published import bench, runs, says


def test_bias():
    floats = runs("datasets").query("method == 'cosine'").set_index(["data", "center"])
    plain, centred = (floats.xs(center, level="center") for center in (False, True))
    says(
        "A network whose last layer is a ReLU gives no negative values, so no cosine is negative: that is the *bias*.",
        (plain["all_mean"] > 0.2).all(),
    )
    says(
        "It goes away when the mean of the training features is subtracted, and so do many of the high similarities "
        "of negative pairs.",
        (centred["all_mean"].abs() < 0.02).all()
        and (centred["negative_mean"] < plain["negative_mean"] - centred["negative_std"]).all(),
    )


def test_speed():
    says(
        "The features agree to the largest difference stated.",
        bench("backbones")["largest_difference"] < 1e-3,
    )
