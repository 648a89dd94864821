"""Log densities in 60-digit decimals, where SciPy's own double precision has lost the digits that are tested."""

from collections.abc import Callable
from decimal import Decimal, getcontext
from fractions import Fraction

getcontext().prec = 60
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")
HALF = Decimal("0.5")


def bernoulli_numbers(count: int) -> list[Fraction]:
    """B(0), B(1), …, exactly, by their recurrence."""
    found = [Fraction(1)]
    for n in range(1, count):
        binomial, total = Fraction(1), Fraction(0)
        for j in range(n):
            total += binomial * found[j]
            binomial = binomial * (n + 1 - j) / (j + 1)
        found.append(-total / (n + 1))
    return found


_B = bernoulli_numbers(41)


def lgamma(x: Decimal) -> Decimal:
    """log Gamma(x) for x > 0: Stirling's series at x + n > 60, brought down by the recurrence."""
    shift = Decimal(1)
    while x < 60:
        shift *= x
        x += 1
    series = (x - HALF) * x.ln() - x + HALF * (2 * PI).ln()
    for j in range(1, 21):
        b = _B[2 * j]
        series += Decimal(b.numerator) / (b.denominator * 2 * j * (2 * j - 1)) / x ** (2 * j - 1)
    return series - shift.ln()


def poisson(k, rate):
    return k * rate.ln() - rate - lgamma(k + 1)


def poisson_log(k, log_rate):
    return k * log_rate - log_rate.exp() - lgamma(k + 1)


def binomial(k, n, p):
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) + k * p.ln() + (n - k) * (1 - p).ln()


def binomial_logits(k, n, logits):
    return binomial(k, n, 1 / (1 + (-logits).exp()))


def negative_binomial(k, mean, c):
    both = c + mean
    return lgamma(k + c) - lgamma(c) - lgamma(k + 1) + c * (c / both).ln() + k * (mean / both).ln()


def gamma(x, a, rate):
    return a * rate.ln() + (a - 1) * x.ln() - rate * x - lgamma(a)


def inverse_gamma(x, a, scale):
    return a * scale.ln() - (a + 1) * x.ln() - scale / x - lgamma(a)


def beta(x, a, b):
    return (a - 1) * x.ln() + (b - 1) * (1 - x).ln() + lgamma(a + b) - lgamma(a) - lgamma(b)


def student_t(x, df, loc, scale):
    z = (x - loc) / scale
    norm = lgamma((df + 1) / 2) - lgamma(df / 2) - HALF * (df * PI).ln() - scale.ln()
    return norm - (df + 1) / 2 * (1 + z * z / df).ln()


ORACLES: dict[tuple[str, ...], Callable[..., Decimal]] = {
    ("Poisson", "rate"): poisson,
    ("Poisson", "log_rate"): poisson_log,
    ("Binomial", "total_count", "probs"): binomial,
    ("Binomial", "total_count", "logits"): binomial_logits,
    ("NegativeBinomial", "mean", "concentration"): negative_binomial,
    ("Gamma", "concentration", "rate"): gamma,
    ("InverseGamma", "concentration", "scale"): inverse_gamma,
    ("Beta", "concentration1", "concentration0"): beta,
    ("StudentT", "df", "loc", "scale"): student_t,
}
