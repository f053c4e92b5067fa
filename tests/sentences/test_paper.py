from tests.sentences.published import csv, says, states


def test_where_all_published_figures_come_from():
    sources = csv("paper")["source"].unique().tolist()
    says(
        "All are from the supplement of [arXiv:2302.07669](https://arxiv.org/abs/2302.07669).",
        sources == ["supplement of arXiv 2302.07669"],
    )
    metrics = csv("paper").groupby("metric")["data"].unique().map(set).to_dict()
    states("paper", "mAP@1000, of GLDv2 mAP@100, in percent")
    says("mAP@1000, of GLDv2 mAP@100", metrics.pop("mAP@100") == {"GLDv2"} and set(metrics) == {"mAP@1000"})
