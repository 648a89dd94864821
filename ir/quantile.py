"""|z| of a standard normal from q = P(|normal| > |z|), in the precision of q.

float32: Giles, "Approximating the erfinv function" (GPU Computing Gems 2, 2011): |z| / x as polynomials of w =
-log(1 - x^2), x = 1 - q, but fitted anew (minimax, relative error 5e-8 and 4e-7) so that the tail holds to |z| = 9.1,
the largest value that 63 bits give, where the published single-precision fit stops at 5.4.

float64: Wichura, "Algorithm AS 241" (Applied Statistics 37, 477, 1988), PPND16, relative error 1e-16: three quotients
of polynomials, of which the parts are chosen and not the values. So the last operation is one division, and XLA
computes noise once for all that use it: what ends with cheap operations it writes out again in each use.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from .logarithm import log

_BODY = (
    *(2.296035233, 3.417168832e-01, -8.115578550e-03, -1.182383674e-03, 2.764452765e-04),
    *(-1.804143707e-05, -2.666263550e-06, 6.442900988e-07, -6.130516220e-09, -8.240278512e-09),
)
_TAIL = (
    *(6.194051841, 1.428709741, 3.747059772e-04, -5.613656805e-04, 2.523085664e-04),
    *(-7.581958555e-05, -2.181465083e-05, 6.432233133e-06, 1.161765250e-05, -3.926789328e-06),
)
_TAIL_CENTRE = 4.534744871391589

# Wichura's a and b, c and d, e and f: numerators and denominators, from the constant term.
_CENTRE = (
    (
        *(3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4),
        *(4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3),
    ),
    (
        *(1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3),
        *(2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3),
    ),
)
_NEAR = (
    (
        *(1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0),
        *(1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4),
    ),
    (
        *(1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1),
        *(1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9),
    ),
)
_FAR = (
    (
        *(6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0, 2.96560571828504891230e-1),
        *(2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7),
    ),
    (
        *(1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2),
        *(7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15),
    ),
)


def _polynomial(x: jax.Array, coefficients: Sequence[float]) -> jax.Array:
    total = jnp.full_like(x, coefficients[-1])
    for c in coefficients[-2::-1]:
        total = total * x + x.dtype.type(c)
    return total


def single(q: jax.Array, x: jax.Array, negative: jax.Array) -> jax.Array:
    """float32 z from q, x = 1 - q and its sign."""
    w = -log(q * (np.float32(2) - q))  # -log(1 - x^2)
    body = _polynomial(w - np.float32(3), _BODY)
    tail = _polynomial(jnp.sqrt(w) - np.float32(_TAIL_CENTRE), _TAIL)
    z = x * jnp.where(w < np.float32(6), body, tail)
    return jnp.where(negative, -z, z)


def double(q: jax.Array, x: jax.Array, negative: jax.Array) -> jax.Array:
    """float64 z from q, x = 1 - q and its sign."""
    half = 0.5 * x
    r = jnp.sqrt(-jnp.log(0.5 * q))
    centre, far = half <= 0.425, r > 5.0
    rest = jnp.where(centre, 0.180625 - half * half, jnp.where(far, r - 5.0, r - 1.6))

    def part(of: int) -> jax.Array:
        parts = (_polynomial(rest, which[of]) for which in (_CENTRE, _NEAR, _FAR))
        middle, near, end = parts
        return jnp.where(centre, middle, jnp.where(far, end, near))

    top = part(0) * jnp.where(centre, half, 1.0)
    return jnp.where(negative, -top, top) / part(1)
