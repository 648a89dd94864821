"""Models of other kinds than those by which the rules of memory were found (`memory_cases`)."""

BLEND = """
model blend
dim obs, part = 3
data y[obs]: real
mu[part] ~ Normal(0, 3)
score[part] ~ Normal(0, 1)
s ~ HalfNormal(1)
z[obs, part] = (y - mu) / s
factor fit = sum(logsumexp(score - 0.5 * z^2, over = part) - log(s), over = obs)
"""
PROCESS = """
model process
dim obs, p, q
data B[obs, p]: real
data y[obs]: real
scale ~ HalfNormal(1)
z[q] ~ Normal(0, 1)
gap[p, q] = coordinate(p) - coordinate(q)
root[p, q] = cholesky(scale * exp(-0.02 * gap^2) + where(gap == 0, 0.01, 0), rows = p, cols = q)
f[p] = contract(root, z, over = q)
y[obs] ~ Normal(contract(B, f, over = p), 0.1)
"""
LEVEL = """
model level
dim time, series
data y[time, series]: real
q ~ HalfNormal(1)
r ~ HalfNormal(1)
scan t in time {
  x[t, series] ~ Normal(x[t - 1], q)   init Normal(0, 1)
}
y[time, series] ~ Normal(x, r)
"""
SHOPS = """
model shops
dim obs, region, shop, item
data r[obs]: index[region], s[obs]: index[shop], i[obs]: index[item]
data price[obs]: real, y[obs]: real
mu ~ Normal(0, 1)
spread ~ HalfNormal(1)
a[region] ~ Normal(mu, spread)
b[shop] ~ Normal(0, 1)
c[item] ~ Normal(0, 1)
noise ~ HalfNormal(1)
y[obs] ~ Normal(a[region = r] + b[shop = s] + c[item = i] * price, noise)
"""
DISH = """
model dish
dim x, y
dim u = freq(x), v = rfreq(y)
data re[u, v]: real, im[u, v]: real
white[x, y] ~ Normal(0, 1)
vis[u, v] = rfft(exp(0.3 * white), x -> u, y -> v)
re[u, v] ~ Normal(real(vis), 1)
im[u, v] ~ Normal(imag(vis), 1)
"""
READOUT = """
model readout
dim cell, particle
data at[particle]: index[cell], part[particle]: real, seen[particle]: real
f[cell] ~ Normal(0, 1)
g[cell] = shift(f, cell = 1)
seen[particle] ~ Normal(f[cell = at] * (1 - part) + g[cell = at] * part, 0.1)
"""
FACTORS = """
model factors
dim user, film, taste
data score[user, film]: real
w[user, taste] ~ Normal(0, 1)
h[film, taste] ~ Normal(0, 1)
noise ~ HalfNormal(1)
score[user, film] ~ Normal(contract(w, h, over = taste), noise)
"""
CLASSES = """
model classes
dim obs, feature, kind = 5
data X[obs, feature]: real
data y[obs]: index[kind]
w[feature, kind] ~ Normal(0, 1)
y[obs] ~ Categorical[kind](logits = contract(X, w, over = feature))
"""
TIDES = """
model tides
dim x, y, z
dim kx = freq(x), ky = freq(y), kz = rfreq(z)
data seen[x, y, z]: real
white[x, y, z] ~ Normal(0, 1)
modes[kx, ky, kz] = rfft(white, x -> kx, y -> ky, z -> kz)
k2[kx, ky, kz] = wavenumber(kx, 1)^2 + wavenumber(ky, 1)^2 + wavenumber(kz, 1)^2 + 1
delta[x, y, z] = irfft(modes, kx -> x, ky -> y, kz -> z)
tide[x, y, z] = irfft(modes * wavenumber(kx, 1)^2 / k2, kx -> x, ky -> y, kz -> z)
seen[x, y, z] ~ Normal(delta + 0.1 * tide^2, 1)
"""
TEXTS = {"blend": BLEND, "process": PROCESS, "level": LEVEL, "shops": SHOPS, "dish": DISH, "readout": READOUT}
TEXTS |= {"factors": FACTORS, "classes": CLASSES, "tides": TIDES}
