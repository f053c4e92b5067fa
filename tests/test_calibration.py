import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from sdclib.calibration import (
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
