import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from sdclib.losses.calibration import (
    Beta,
    Binomial,
    Empirical,
    TruncatedGaussian,
    TruncatedLaplace,
    parse_calibration,
    target_quantiles,
)

DISTRIBUTIONS = [
    Beta(5, 5),
    Beta(0.2, 0.2),
    Beta(2, 7),
    TruncatedGaussian(0, 0.3),
    TruncatedGaussian(0.4, 2.0),
    TruncatedLaplace(0, 0.2),
    TruncatedLaplace(-0.3, 3.0),
    Binomial(16),
    Binomial(1),
]


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=str)
def test_quantiles_are_ascending_and_stay_in_range(distribution):
    q = distribution.quantile(np.linspace(0, 1, 1001))
    assert q[0] == pytest.approx(-1)
    assert q[-1] == pytest.approx(1)
    assert (np.diff(q) >= 0).all()


def test_beta_against_its_density():
    # F(F^-1(u)) = u, with F integrated from the density on [-1, 1]
    for u in (0.05, 0.3, 0.5, 0.9):
        q = float(Beta(5, 2).quantile(u))
        mass, _ = integrate.quad(lambda v: stats.beta.pdf((v + 1) / 2, 5, 2) / 2, -1, q)
        assert mass == pytest.approx(u, abs=1e-8)


def test_truncated_gaussian_against_its_density():
    inside, _ = integrate.quad(stats.norm(0, 0.3).pdf, -1, 1)
    for u in (0.05, 0.3, 0.5, 0.9):
        q = float(TruncatedGaussian(0, 0.3).quantile(u))
        mass, _ = integrate.quad(stats.norm(0, 0.3).pdf, -1, q)
        assert mass / inside == pytest.approx(u, abs=1e-8)


def test_standard_deviation_of_beta_5_5_is_the_documented_one():
    assert target_quantiles(Beta(5, 5), 100_000).std() == pytest.approx(0.3015, abs=1e-4)


@given(st.floats(0.1, 20), st.floats(0.1, 20))
def test_what_prints_is_read_back(alpha, beta):
    distribution = parse_calibration(f"beta({alpha:.10g}, {beta:.10g})")
    assert parse_calibration(str(distribution)) == distribution


def test_target_quantiles_are_the_middles():
    np.testing.assert_allclose(target_quantiles(Beta(1, 1), 4), [-0.75, -0.25, 0.25, 0.75])


@pytest.mark.parametrize(
    "bad",
    ["gamma(1, 2)", "beta", "beta(5)(5)", "beta(5, 5, 5)", "beta(0, 1)", "beta(a, b)", "beta(nan, 1)", 5],
)
def test_bad_names_are_refused(bad):
    with pytest.raises(ValueError, match="calibration: expected"):
        parse_calibration(bad)


def test_probabilities_outside_are_refused():
    with pytest.raises(ValueError, match=r"u: expected probabilities"):
        Beta().quantile([0.5, 1.5])
    with pytest.raises(ValueError, match=r"u: expected probabilities"):
        TruncatedGaussian().quantile(np.nan)


def test_truncated_laplace_against_its_density():
    def density(v):
        return np.exp(-abs(v - 0.1) / 0.4)

    inside, _ = integrate.quad(density, -1, 1, points=[0.1])
    for u in (0.05, 0.3, 0.5, 0.9):
        q = float(TruncatedLaplace(0.1, 0.4).quantile(u))
        mass, _ = integrate.quad(density, -1, q, points=[0.1] if q > 0.1 else None)
        assert mass / inside == pytest.approx(u, abs=1e-7)


def test_binomial_is_the_similarity_of_fair_bits():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2, (2, 40_000, 16))
    similarity = 1 - 2 * (codes[0] != codes[1]).mean(axis=1)
    u = np.linspace(0.02, 0.98, 25)
    quantiles = Binomial(16).quantile(u)
    assert set(np.round((quantiles + 1) * 8, 9) % 1) == {0}  # steps of 1/8
    for value, probability in zip(quantiles, u, strict=True):
        assert np.mean(similarity <= value) > probability - 0.01
        assert np.mean(similarity < value) < probability + 0.01
    assert Binomial(64).quantile((np.arange(10_000) + 0.5) / 10_000).std() == pytest.approx(1 / 8, abs=1e-3)


def test_empirical_gives_back_what_it_was_given():
    rng = np.random.default_rng(0)
    similarities = rng.uniform(-0.3, 0.8, 501)
    quantiles = target_quantiles(Empirical(similarities), 501)
    np.testing.assert_allclose(quantiles, np.sort(similarities), atol=0.01)
    with pytest.raises(ValueError, match=r"similarities: expected numbers in \[-1, 1\]"):
        Empirical([0.5, 1.5])


@pytest.mark.parametrize(
    "text", ["binomial(2.5)", "binomial(0)", "truncated_laplace(0, -1)", "truncated_laplace(nan)"]
)
def test_impossible_values_are_named(text):
    with pytest.raises(ValueError, match="calibration: expected values like"):
        parse_calibration(text)


@pytest.mark.parametrize(("mean", "std"), [(0.4, 0.5), (-1.5, 0.8)])
def test_shifted_truncated_gaussian_against_its_density(mean, std):
    inside, _ = integrate.quad(stats.norm(mean, std).pdf, -1, 1)
    for u in (0.05, 0.5, 0.9):
        q = float(TruncatedGaussian(mean, std).quantile(u))
        mass, _ = integrate.quad(stats.norm(mean, std).pdf, -1, q)
        assert mass / inside == pytest.approx(u, abs=1e-8)


def test_defaults_are_those_of_the_paper_and_its_ablation():
    assert [str(kind()) for kind in (Beta, TruncatedGaussian, TruncatedLaplace, Binomial)] == [
        "beta(5, 5)",
        "truncated_gaussian(0, 0.3)",
        "truncated_laplace(0, 0.2)",
        "binomial(64)",
    ]


@pytest.mark.parametrize(
    "distribution", [*DISTRIBUTIONS, Empirical(np.float32([0.25, -0.5, 1])), Empirical([1, 0, -1])], ids=str
)
def test_quantiles_have_the_shape_of_the_probabilities(distribution):
    u = np.array([[0, 0.1, 0.4], [0.6, 0.9, 1]], dtype=np.float32)
    q = distribution.quantile(u)
    assert q.shape == (2, 3)
    assert q.dtype == np.float64
    np.testing.assert_array_equal(q.ravel(), distribution.quantile(u.astype(np.float64).ravel().tolist()))


@pytest.mark.parametrize("kind", [TruncatedGaussian, TruncatedLaplace])
def test_no_rounding_leaves_the_range(kind):
    # SciPy's quantiles at the ends are beyond -1 and 1 by an ulp or two for many of these.
    for mean in np.linspace(-2, 2, 33):
        for spread in (0.5, 1.0, 3.0):
            ends = kind(mean, spread).quantile([0, 1e-300, 1 - 1e-16, 1])
            np.testing.assert_allclose(ends, [-1, -1, 1, 1], atol=1e-9)
            assert np.abs(ends).max() <= 1


def test_ends_of_binomial():
    assert Binomial(16).quantile([0, 1]).tolist() == [-1, 1]
    assert Binomial(1).quantile([0, 0.4, 0.6, 1]).tolist() == [-1, -1, 1, 1]


class TestEmpirical:
    def test_rounding_beyond_the_range_is_cut_off(self):
        distribution = Empirical(np.array([1 + 1e-6, 0.5, -1 - 1e-6]))
        assert distribution.similarities.tolist() == [-1, 0.5, 1]
        for beyond in (1 + 2e-6, -1 - 2e-6, np.nan):
            with pytest.raises(ValueError, match=r"^similarities: expected numbers"):
                Empirical([0.5, beyond])

    @pytest.mark.parametrize("shape", [(), (0,), (2, 3), (0, 3)])
    def test_other_shapes_are_named(self, shape):
        message = f"similarities: expected numbers in [-1, 1] of shape (n,), n >= 1, got shape {shape}"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            Empirical(np.zeros(shape))

    def test_order_does_not_matter_and_single_values_are_kept_in_float64(self):
        similarities = np.random.default_rng(0).uniform(-1, 1, 30).astype(np.float32)
        distribution = Empirical(similarities)
        assert distribution.similarities.dtype == np.float64
        np.testing.assert_array_equal(distribution.similarities, sorted(similarities.astype(float)))
        assert distribution.quantile(0.25) == np.quantile(similarities.astype(float), 0.25)
        assert str(distribution) == "empirical"
        assert Empirical([0]).quantile([0.2, 0.7]).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Beta(0, 1), "Beta: expected alpha to be finite and > 0, got 0"),
        (lambda: Beta(1, np.inf), "Beta: expected beta to be finite and > 0, got inf"),
        (lambda: TruncatedGaussian(0, 0), "TruncatedGaussian: expected std to be finite and > 0, got 0"),
        (lambda: TruncatedGaussian(-np.inf), "TruncatedGaussian: expected mean to be finite, got -inf"),
        (lambda: TruncatedLaplace(0, -1), "TruncatedLaplace: expected scale to be finite and > 0, got -1"),
        (lambda: TruncatedLaplace(np.nan), "TruncatedLaplace: expected mean to be finite, got nan"),
        (lambda: Binomial(2.5), "Binomial: expected n_bits to be a whole number >= 1, got 2.5"),
        (lambda: Binomial(0), "Binomial: expected n_bits to be a whole number >= 1, got 0"),
        (lambda: Binomial(np.inf), "Binomial: expected n_bits to be a whole number >= 1, got inf"),
        (lambda: Beta().quantile(-0.1), "u: expected probabilities in [0, 1], got values outside or NaN"),
        (
            lambda: Binomial().quantile([0, 2]),
            "u: expected probabilities in [0, 1], got values outside or NaN",
        ),
        (
            lambda: parse_calibration("gamma(1, 2)"),
            "calibration: expected a distribution such as beta(5, 5), truncated_gaussian(0, 0.3), "
            "truncated_laplace(0, 0.2), binomial(64), got 'gamma(1, 2)'",
        ),
        (
            lambda: parse_calibration("beta(5"),
            "calibration: expected a distribution such as beta(5, 5), truncated_gaussian(0, 0.3), "
            "truncated_laplace(0, 0.2), binomial(64), got 'beta(5'",
        ),
        (lambda: parse_calibration(5), "calibration: expected a name or an object with quantile(u), got 5"),
        (
            lambda: parse_calibration("beta(a, b)"),
            "calibration: expected values like beta(5, 5), got 'beta(a, b)' (could not convert string to float: 'a')",
        ),
        (
            lambda: parse_calibration("binomial(2.5)"),
            "calibration: expected values like binomial(64), got 'binomial(2.5)' "
            "(Binomial: expected n_bits to be a whole number >= 1, got 2.5)",
        ),
    ],
)
def test_messages_say_what_came(make, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make()


def test_what_is_a_distribution_already_is_returned_as_it_is():
    class Own:
        def quantile(self, u):
            return u

    class WithoutMethod:
        quantile = 3

    for distribution in (Beta(2, 3), Empirical([0.5]), Own()):
        assert parse_calibration(distribution) is distribution
    with pytest.raises(ValueError, match=r"^calibration: expected a name or an object with quantile\(u\)"):
        parse_calibration(WithoutMethod())


def test_blanks_and_ten_digits():
    assert parse_calibration("  truncated_gaussian \t( -0.25 ,0.5)\n") == TruncatedGaussian(-0.25, 0.5)
    assert str(Beta(1 / 3, 12345.678912)) == "beta(0.3333333333, 12345.67891)"


def test_target_quantiles_by_the_formula():
    for n in (1, 2, 7):
        u = np.array([(2 * i - 1) / (2 * n) for i in range(1, n + 1)])
        np.testing.assert_allclose(
            target_quantiles(Beta(2, 5), n), 2 * stats.beta.ppf(u, 2, 5) - 1, rtol=1e-12
        )


@pytest.mark.xfail(
    strict=True, reason="F(-1) and F(1) round to the same number where the mean lies far below -1"
)
def test_truncated_laplace_is_symmetric_in_its_mean_however_far_away():
    far_above, far_below = TruncatedLaplace(3, 0.05).quantile(0.5), TruncatedLaplace(-3, 0.05).quantile(0.5)
    assert far_above == pytest.approx(1 - 0.05 * np.log(2), abs=1e-6)  # an exponential tail that starts at 1
    assert far_below == pytest.approx(-far_above, abs=1e-6)
