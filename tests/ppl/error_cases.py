"""Mistakes that people make, each with the change that its hint asks for: the table of `test_errors.py`.

A case starts from a project of `error_projects.py`, which is right, and `breaks` it: file (or "argv") → (old, new), or
the whole text of a file. `mend` follows the hint in the same notation; what comes of it must be accepted.
"""

from __future__ import annotations

from dataclasses import dataclass

from .error_projects import PROJECTS, PYTHON

Change = tuple[str, str] | str

CHECK = "check model.ppl"
DATA = "check model.ppl --data data.json"
PLAN = "plan model.ppl --mesh row=2,col=2"
RUN = "run model.ppl --data data.json --out out"


@dataclass(frozen=True)
class Case:
    name: str
    breaks: dict[str, Change]
    mend: dict[str, Change]
    project: str = "radon"
    argv: str = CHECK

    def files(self, mended: bool = False) -> dict[str, str]:
        return {n: t for n, t in self._texts(mended).items() if n != "argv"}

    def words(self, mended: bool = False) -> list[str]:
        return self._texts(mended)["argv"].split()

    def _texts(self, mended: bool) -> dict[str, str]:
        texts = {**PROJECTS[self.project], "argv": self.argv}
        for changes in (self.breaks, self.mend) if mended else (self.breaks,):
            for name, change in changes.items():
                if isinstance(change, tuple):
                    old, new = change
                    assert old in texts[name], f"{self.name}: no {old!r} in {name}"
                    change = texts[name].replace(old, new)
                texts[name] = change
        return texts


def text(name: str, old: str, new: str, wrong: str, right: str, project: str = "radon", argv: str = CHECK) -> Case:
    """A mistake in the model text: `old` becomes `new`, in which `wrong` must become `right`."""
    return Case(name, {"model.ppl": (old, new)}, {"model.ppl": (wrong, right)}, project, argv)


def words(name: str, wrong: str, right: str, argv: str, project: str = "radon") -> Case:
    """A mistake on the command line: `wrong` is added to `argv`, and must become `right`."""
    return Case(name, {"argv": f"{argv} {wrong}".strip()}, {"argv": f"{argv} {right}".strip()}, project)


ETA = "eta[obs] = alpha[county = cty] + beta * floor"
DIMS = [
    text("unknown_dim", "y[obs]: real", "y[ob]: real", "[ob]", "[obs]"),
    text("unknown_dim_on_the_left", "eta[obs]", "eta[ops]", "[ops]", "[obs]"),
    text("unknown_dim_in_sum", ETA, f"{ETA}\nm = sum(floor, over = ops)", "ops", "obs"),
    text("unknown_dim_of_distribution", "Dirichlet[k]", "Dirichlet[j]", "[j]", "[k]", "mixture"),
    text("forgotten_index", "alpha[county = cty]", "alpha", "= alpha", "= alpha[county = cty]"),
    text(
        "forgotten_index_in_parameter", "Normal(eta, sigma)", "Normal(alpha, sigma)", "(alpha", "(alpha[county = cty]"
    ),
    text("dim_missing_on_the_left", "eta[obs]", "eta", "eta =", "eta[obs] ="),
    text("dim_missing_on_a_latent", "alpha[county]", "alpha", "alpha ~", "alpha[county] ~"),
    text(
        "summed_twice",
        ETA,
        f"{ETA}\ns = sum(sum(floor, over = obs), over = obs)",
        "sum(sum(floor, over = obs),",
        "sum(floor,",
    ),
    text("sum_over_a_dim_it_lacks", ETA, f"{ETA}\ns = sum(alpha, over = obs)", "over = obs", "over = county"),
    text(
        "contract_one_side_lacks", ETA, f"{ETA}\ns = contract(alpha, floor, over = obs)", "alpha, floor", "eta, floor"
    ),
    text("index_of_a_dim_it_lacks", "alpha[county = cty]", "mu[county = cty]", "mu[", "alpha["),
    text("index_by_real_number", "alpha[county = cty]", "alpha[county = floor]", "= floor]", "= cty]"),
    text("index_between_positions", "alpha[county = cty]", "alpha[county = 0.5]", "0.5", "0"),
    text("dim_as_quantity", "beta * floor", "beta * obs", "* obs", "* coordinate(obs)"),
    text("quantity_named_like_a_dim", "tau ", "county ~ Normal(0, 2)\ntau ", "county ~ N", "slope ~ N"),
    text("dim_declared_twice", "dim obs, county", "dim obs, county, obs", ", obs\n", "\n"),
    text("unknown_rule_of_dim", "freq(x)", "freqs(x)", "freqs", "freq", "field"),
    text("rule_of_unknown_dim", "freq(x), ky", "freq(z), ky", "freq(z)", "freq(x)", "field"),
    text("dims_of_observed_differ", "y[obs] ~", "y ~", "y ~", "y[obs] ~"),
    text(
        "rename_to_another_size",
        "k2[kx",
        "r[y] = rename(amp * coordinate(x), x -> y)\nk2[kx",
        "y = 6",
        "y = alias(x)",
        "field",
    ),
]
NAMES = [
    text("unknown_name", "beta * floor", "bta * floor", "bta", "beta"),
    text(
        "name_used_before_it_is_defined",
        f"{ETA}\ny[obs] ~ Normal(eta, sigma)",
        f"y[obs] ~ Normal(eta, sigma)\n{ETA}",
        f"y[obs] ~ Normal(eta, sigma)\n{ETA}",
        f"{ETA}\ny[obs] ~ Normal(eta, sigma)",
    ),
    text("unknown_function", "beta * floor", "squrt(floor)", "squrt", "sqrt"),
    text("unknown_distribution", "mu    ~ Normal", "mu    ~ Norml", "Norml", "Normal"),
    text("unknown_parameter", "Normal(0, 10)", "Normal(0, scle = 10)", "scle", "scale"),
    text("unknown_annotation", "@noncentered", "@noncentred", "@noncentred", "@noncentered"),
    text("annotation_in_the_wrong_place", ETA, f"{ETA} @noncentered", f"{ETA} @noncentered", ETA),
    text("annotation_twice", "@noncentered", "@noncentered @noncentered", "@noncentered @", "@"),
    text("defined_twice", ETA, f"{ETA}\n{ETA}", f"{ETA}\neta", f"{ETA}\neta2"),
    text("latent_defined_twice", ETA, f"{ETA}\nbeta ~ Normal(0, 1)", "beta ~ Normal(0, 1)", "gamma ~ Normal(0, 1)"),
    text(
        "data_declared_twice",
        "data y[obs]: real",
        "data y[obs]: real\ndata y[obs]: real",
        "real\ndata y[obs]",
        "real\ndata z[obs]",
    ),
    text("data_generated", "y[obs] ~", "generated y[obs] ~", "generated y[", "generated y_rep["),
    text("data_defined", "eta[obs] =", "floor[obs] =", "floor[obs] =", "eta[obs] ="),
    text("observed_twice", "y[obs] ~", "y[obs] ~ Normal(0, 1)\ny[obs] ~", "y[obs] ~ Normal(0, 1)\n", ""),
    text("stan_distribution", "tau   ~ HalfNormal(2)", "tau   ~ student_t(3, 0, 1)", "student_t", "StudentT"),
    text("stan_function", "beta * floor", "inv_sqrt(floor + 2)", "inv_sqrt(floor + 2)", "1 / sqrt(floor + 2)"),
    text("stan_lower_case", "mu    ~ Normal", "mu    ~ normal", "normal", "Normal"),
    text("numpyro_parameter", "HalfNormal(2)", "TruncatedNormal(0, 1, low = 0)", "low", "lower"),
    text("pymc_parameter", "Normal(0, 10)", "Normal(mu = 0, scale = 10)", "mu = 0", "loc = 0"),
    text("pymc_sigma", "HalfNormal(2)", "HalfNormal(sigma = 2)", "sigma = 2", "scale = 2"),
    text("variance_for_scale", "Normal(0, 10)", "Normal(0, variance = 100)", "variance = 100", "scale = sqrt(100)"),
    text("einsum", ETA, f"{ETA}\ns = dot(eta, floor)", "dot(eta, floor)", "contract(eta, floor, over = obs)"),
]
DISTRIBUTIONS = [
    text("negative_scale", "HalfNormal(2)", "HalfNormal(-2)", "-2", "2"),
    text("zero_scale", "Normal(0, 10)", "Normal(0, 0)", "(0, 0)", "(0, 1)"),
    text("binomial_without_name", "probs = p", "p", "Binomial(n, p)", "Binomial(n, probs = p)", "mixture"),
    text("event_dim_missing", "Dirichlet[k]", "Dirichlet", "Dirichlet(", "Dirichlet[k](", "mixture"),
    text("event_dim_not_on_the_left", "weight[k]", "weight", "weight ~", "weight[k] ~", "mixture"),
    text("event_dim_on_a_scalar_distribution", "p[trial] ~ Beta", "p[trial] ~ Beta[k]", "Beta[k]", "Beta", "mixture"),
    text("too_many_arguments", "Normal(0, 10)", "Normal(0, 10, 3)", ", 3)", ")"),
    text("argument_missing", "Normal(0, 10)", "Normal(0)", "Normal(0)", "Normal(0, 10)"),
    text("argument_given_twice", "Normal(0, 10)", "Normal(0, 10, loc = 1)", ", loc = 1", ""),
    text("bounds_in_the_wrong_order", "HalfNormal(2)", "Uniform(3, 1)", "(3, 1)", "(1, 3)"),
    text("probability_above_one", "probs = p", "probs = 1.5", "1.5", "0.5", "mixture"),
    text(
        "discrete_latent",
        "p[trial] ~ Beta(1, 1)",
        "p[trial] ~ Beta(1, 1)\nj ~ Poisson(3)",
        "j ~ Poisson(3)",
        "j ~ Gamma(3, 1)",
        "mixture",
    ),
    text(
        "real_data_of_a_discrete_distribution",
        "y[obs] ~ Normal(eta, sigma)",
        "y[obs] ~ Poisson(exp(eta))",
        "data y[obs]: real",
        "data y[obs]: int",
    ),
    text("noncentered_on_observed", "Normal(eta, sigma)", "Normal(eta, sigma) @noncentered", ") @noncentered\n", ")\n"),
    text(
        "noncentered_without_a_scale",
        "beta  ~ Normal(0, 2)",
        "beta  ~ Beta(1, 2) @noncentered",
        "Beta(1, 2) @noncentered",
        "Beta(1, 2)",
    ),
    text("where_on_a_latent", "beta  ~ Normal(0, 2)", "beta  ~ Normal(0, 2) @where(floor)", " @where(floor)", ""),
]
UNIVERSE = "universe = cosmology(Omega_m = Omega_m, Omega_b = 0.05, h = 0.7, n_s = 0.96, sigma8 = 0.8)"
LIBRARY = [
    Case(
        "library_not_used",
        {"model.ppl": ("use cosmology\n", "")},
        {"model.ppl": ("box\n", "box\nuse cosmology\n")},
        "box",
    ),
    text("library_unknown", "use cosmology", "use cosmo", "use cosmo", "use cosmology", "box"),
    text("function_of_a_library_misspelt", "= simulate(", "= simulat(", "simulat(", "simulate(", "box"),
    text("record_as_a_quantity", "density(seen) - 1", "seen - 1", "seen - 1", "density(seen) - 1", "box"),
    text("record_in_a_function", "density(seen) - 1", "exp(universe)", "exp(universe)", "exp(white)", "box"),
    text("record_in_a_distribution", "Normal(delta, 1)", "Normal(seen, 1)", "(seen, 1)", "(density(seen), 1)", "box"),
    text("record_with_dims", "seen = red", "seen[x] = red", "seen[x]", "seen", "box"),
    text("record_not_kept", "los = z)\n", "los = z) @nosave\n", " @nosave", "", "box"),
    text("record_generated", "seen = red", "generated seen = red", "generated ", "", "box"),
    text("record_of_another_kind", "density(seen)", "density(universe)", "(universe) - 1", "(seen) - 1", "box"),
    text("quantity_as_a_record", "(white, universe,", "(white, Omega_m,", "Omega_m, cell", "universe, cell", "box"),
    text("record_as_an_argument", "(white, universe,", "(universe, universe,", "(universe, u", "(white, u", "box"),
    text("line_of_sight_of_no_dim", "(matter, los = z)", "(matter, los = shell)", "los = shell", "los = y", "box"),
    text("multipole_of_no_line", ", los = z, multipole", ", multipole", ", multipole", ", los = z, multipole", "box"),
    text(
        "shells_along_a_box",
        "power[shell] = power_spectrum(delta, shell",
        "power[x] = power_spectrum(delta, x",
        "power[x] = power_spectrum(delta, x",
        "power[shell] = power_spectrum(delta, shell",
        "box",
    ),
    text("box_without_cells", ", cell = 8.0, steps = 0", ", steps = 0", ", steps", ", cell = 8.0, steps", "box"),
    text("box_of_a_scalar", "simulate(white", "simulate(Omega_m", "simulate(Omega_m", "simulate(white", "box"),
    text("cell_that_is_a_quantity", "cell = 8.0, steps", "cell = Omega_m, steps", "cell = Omega_m", "cell = 2", "box"),
    text("steps_that_are_half", "steps = 0", "steps = 1.5", "1.5", "0", "box"),
    text("stepper_unknown", "steps = 0", 'stepper = "leapfrog"', "leapfrog", "bullfrog", "box"),
    text("cosmology_without_a_parameter", ", h = 0.7", "", ", n_s", ", h = 0.7, n_s", "box"),
    text("cosmology_without_amplitude", ", sigma8 = 0.8", "", ", n_s = 0.96", ", n_s = 0.96, sigma8 = 0.8", "box"),
]
FUNCTIONS = [
    text("rfft_without_rfreq", "ky = rfreq(y)", "ky = freq(y)", "ky = freq(y)", "ky = rfreq(y)", "field"),
    text("irfft_to_the_wrong_dim", "kx -> x, ky -> y)", "kx -> x, ky -> x)", "ky -> x", "ky -> y", "field"),
    text(
        "fft_to_a_plain_dim",
        "rfft(white, x -> kx, y -> ky)",
        "rfft(white, x -> y, y -> ky)",
        "x -> y",
        "x -> kx",
        "field",
    ),
    text("rfft_of_a_dim_it_lacks", "rfft(white,", "rfft(amp,", "amp, x", "white, x", "field"),
    text("wavenumber_of_a_plain_dim", "wavenumber(kx, box)", "wavenumber(x, box)", "(x, box)", "(kx, box)", "field"),
    text("function_with_one_argument_too_many", "beta * floor", "exp(floor, 2)", "(floor, 2)", "(floor)"),
    text("function_with_unknown_keyword", ETA, f"{ETA}\ns = sum(floor, axis = obs)", "axis", "over"),
    text("number_has_no_dims", ETA, f"{ETA}\ns = sum(2, over = obs)", "sum(2,", "sum(floor,"),
    text("division_by_zero", "beta * floor", "beta * (1 / 0)", "(1 / 0)", "(1 / 2)"),
    text(
        "unknown_sampler_in_the_model",
        "Normal(eta, sigma)\n",
        "Normal(eta, sigma)\ninfer nutz(draws = 5)\n",
        "nutz",
        "nuts",
    ),
    text(
        "unknown_option_in_the_model",
        "Normal(eta, sigma)\n",
        "Normal(eta, sigma)\ninfer nuts(num_samples = 5)\n",
        "num_samples",
        "draws",
    ),
    text(
        "unknown_sampler_of_a_stage",
        "Normal(eta, sigma)\n",
        "Normal(eta, sigma)\ninfer hmc() >> nutz(draws = 5)\n",
        "nutz",
        "nuts",
    ),
    text(
        "option_of_a_stage_out_of_range",
        "Normal(eta, sigma)\n",
        "Normal(eta, sigma)\ninfer hmc(warmup = 100, steps = 0) >> nuts()\n",
        "steps = 0",
        "steps = 1",
    ),
    text(
        "stages_with_different_chains",
        "Normal(eta, sigma)\n",
        "Normal(eta, sigma)\ninfer hmc(chains = 8) >> nuts(chains = 4)\n",
        "hmc(chains = 8)",
        "hmc()",
    ),
    text(
        "stage_without_warmup",
        "Normal(eta, sigma)\n",
        "Normal(eta, sigma)\ninfer hmc(warmup = 0) >> nuts()\n",
        "warmup = 0",
        "warmup = 200",
    ),
    text(
        "only_of_an_unknown_latent",
        "Normal(eta, sigma)\n",
        "Normal(eta, sigma)\ninfer nuts(only = [mu, tua]) >> nuts()\n",
        "tua",
        "tau",
    ),
    text(
        "only_of_a_noncentred_latent",
        "Normal(eta, sigma)\n",
        "Normal(eta, sigma)\ninfer nuts(only = [alpha]) >> nuts()\n",
        "[alpha]",
        "[alpha_raw]",
    ),
    text(
        "only_twice_the_same",
        "Normal(eta, sigma)\n",
        "Normal(eta, sigma)\ninfer nuts(only = [mu, mu])\n",
        "[mu, mu]",
        "[mu, tau]",
    ),
    text(
        "unknown_option_of_the_chosen_program",
        "Normal(eta, sigma)\n",
        "Normal(eta, sigma)\ninfer auto(tune = 5)\n",
        "tune",
        "warmup",
    ),
]


def data(name: str, old: str, new: str, wrong: str, right: str, project: str = "radon", argv: str = DATA) -> Case:
    """A mistake in the data file."""
    return Case(name, {"data.json": (old, new)}, {"data.json": (wrong, right)}, project, argv)


VALUES = [
    Case("data_missing", {"data.json": '{"y": [1.0], "cty": [0]}\n'}, {"argv": f"{DATA} floor=[0]"}, argv=DATA),
    data("data_misspelt", '"floor"', '"flor"', '"flor"', '"floor"'),
    data("const_missing", '"box": 10.0, ', "", '{"counts"', '{"box": 10.0, "counts"', "field"),
    data("data_of_wrong_rank", "[0, 1, 0, 1, 0]", "[[0, 1, 0, 1, 0]]", "[[0, 1, 0, 1, 0]]", "[0, 1, 0, 1, 0]"),
    data("sizes_of_data_differ", "[0, 1, 0, 1, 0]", "[0, 1, 0, 1]", "[0, 1, 0, 1]", "[0, 1, 0, 1, 0]"),
    data(
        "data_transposed",
        f"{[[2.5] * 6] * 8}",
        f"{[[2.5] * 8] * 6}",
        f"{[[2.5] * 8] * 6}",
        f"{[[2.5] * 6] * 8}",
        "field",
    ),
    data(
        "text_for_numbers",
        "[0, 1, 0, 1, 0]",
        '["a", "b", "c", "d", "e"]',
        '["a", "b", "c", "d", "e"]',
        "[0, 1, 0, 1, 0]",
    ),
    data("fraction_for_a_count", '"n": [10,', '"n": [10.5,', "10.5", "10", "mixture"),
    data("nan_in_data", "0.5,", '"NaN",', '"NaN"', "0.5"),
    data("value_below_its_bound", '"m": [3,', '"m": [-3,', "-3", "3", "mixture"),
    Case(
        "indices_count_from_one",
        {"data.json": ("[0, 0, 1, 2, 2]", "[1, 1, 2, 3, 3]")},
        {"argv": f"{DATA} --index-base 1"},
        argv=DATA,
    ),
    data("index_too_large", "[0, 0, 1, 2, 2]", "[0, 0, 1, 2, 3]", ", 3]", ", 2]", argv=f"{DATA} --set county=3"),
    data("negative_index", "[0, 0,", "[-1, 0,", "-1", "0"),
    data("unreadable_data", '"y"', '"y', '"y:', '"y":'),
    words("data_file_of_unknown_kind", "--data data.csv", "--data data.json", CHECK),
    words("data_file_missing", "--data dta.json", "--data data.json", CHECK),
    words("data_without_a_file", "y=", "y=[1,2,3,4,5]", DATA),
    words("size_against_the_data", "--set obs=4", "--set obs=5", DATA),
]
SIZES = [
    words("set_unknown_dim", "--set ops=9", "--set obs=9", CHECK),
    words("set_a_dim_that_follows", "--set kx=9", "--set x=9", CHECK, "field"),
    words("set_unreadable", "--set obs:9", "--set obs=9", CHECK),
    words("set_to_zero", "--set obs=0", "--set obs=1", CHECK),
    words("set_twice", "--set obs=8,obs=9", "--set obs=8", CHECK),
    words("plan_without_sizes", "", "--set obs=9 county=4", PLAN),
    words("unknown_dtype", "--dtype float16", "--dtype float32", CHECK),
    words("index_base_two", "--index-base 2", "--index-base 0", DATA),
]


def plan_file(name: str, content: str, wrong: str, right: str) -> Case:
    """A mistake in a plan file."""
    argv = "plan model.ppl --plan plan.toml"
    return Case(name, {"plan.toml": content}, {"plan.toml": (wrong, right)}, "field", argv)


PLANS = [
    words("pin_of_an_unknown_value", "--pin delt:x=row", "--pin delta:x=row", PLAN, "field"),
    words("pin_of_an_unknown_dim", "--pin delta:z=row", "--pin delta:x=row", PLAN, "field"),
    words("pin_to_an_unknown_axis", "--pin delta:x=raw", "--pin delta:x=row", PLAN, "field"),
    words("pin_with_an_axis_twice", "--pin delta:x=row,y=row", "--pin delta:x=row", PLAN, "field"),
    words("pin_unreadable", "--pin delta", "--pin delta:x=row", PLAN, "field"),
    words("ban_unreadable", "--ban delta", "--ban delta:x=row", PLAN, "field"),
    words("preference_unreadable", "--prefer delta", "--prefer delta:x=row", PLAN, "field"),
    words(
        "preference_with_a_large_margin",
        "--prefer delta:x=row,within=5",
        "--prefer delta:x=row,within=5%",
        PLAN,
        "field",
    ),
    words("pin_and_ban_contradict", "--pin delta:x=row --ban delta:x=row", "--pin delta:x=row", PLAN, "field"),
    words("two_questions", "--where --explain delta", "--where", PLAN, "field"),
    words("diff_of_one_file", "--diff plan.toml", "", PLAN, "field"),
    words("diff_with_a_missing_file", "--diff plam.toml plam.toml", "", PLAN, "field"),
    plan_file("ban_of_an_unknown_dim", '[mesh]\nrow = 2\n\n[ban]\ndelta = { z = "row" }\n', "z =", "x ="),
    plan_file(
        "preference_without_a_layout",
        "[mesh]\nrow = 2\n\n[prefer]\ndelta = { within = 0.1 }\n",
        "{ w",
        '{ x = "row", w',
    ),
    words(
        "explain_an_unknown_value",
        "--explain slop",
        "--explain slope",
        "plan model.py --mesh row=2 --set obs=4",
        "python",
    ),
    words("mesh_unreadable", "--mesh row:4", "--mesh row=4", "plan model.ppl", "field"),
    words("mesh_with_an_axis_twice", "--mesh row=2,row=2", "--mesh row=2,col=2", "plan model.ppl", "field"),
    words("devices_no_number", "--devices many", "--devices 4", "plan model.ppl", "field"),
    words("devices_between_nodes", "--devices 12", "--devices 16", "plan model.ppl --machine h100x8", "field"),
    words("devices_beside_a_mesh", "--devices 4 --mesh 4", "--devices 4", "plan model.ppl", "field"),
    words("compile_only_for_too_many", "--compile-only", "", "plan model.ppl --mesh row=32,col=16", "field"),
    words("unknown_machine", "--machine h100", "--machine h100x8", PLAN, "field"),
    words("pin_along_a_dim_that_is_needed_whole", "--pin delta:y=row", "--pin delta:x=row", PLAN, "field"),
    words("memory_too_small", "--memory 10B", "--memory 2MB", "plan model.ppl --set obs=9 county=4"),
    words("memory_unreadable", "--memory lots", "--memory 80GB", PLAN, "field"),
    words("memory_negative", "--memory -1GB", "--memory 80GB", PLAN, "field"),
    words("plan_file_missing", "--plan plam.toml", "", PLAN, "field"),
    plan_file("plan_file_is_not_toml", "[mesh]\nrow = \n", "row = ", "row = 2"),
    plan_file("plan_file_with_an_unknown_key", '[mesh]\nrow = 2\n\n[pins]\ndelta = "x/row"\n', "[pins]", "[pin]"),
    words("plan_cannot_be_written", "--write none/plan.toml", "--write plan.toml", PLAN, "field"),
    words("mesh_larger_than_the_devices", "--mesh row=16", "--mesh row=8", RUN),
]
COMMANDS = [
    words("predict_without_a_file", "", "--out draw.npz", "predict model.ppl --data data.json"),
    words("predict_in_an_unknown_format", "--out draw.csv", "--out draw.npz", "predict model.ppl --data data.json"),
    words("predict_with_half_a_draw", "--draws 0.5", "--draws 1", "predict model.ppl --data data.json --out draw.npz"),
    words("unknown_command", "chek model.ppl", "check model.ppl", ""),
    words("foreign_command", "sample model.ppl --data data.json --out out", RUN, ""),
    words("model_without_a_command", "model.ppl", "check model.ppl", ""),
    words("unknown_option", "--darws 5", "--draws 5", RUN),
    words("foreign_option", "--num-samples 5", "--draws 5", RUN),
    words("option_of_another_command", "--mesh row=2 --explain mu", "--mesh row=2", RUN),
    words("value_missing", "--draws", "--draws 5", RUN),
    words("model_missing", "check", "check model.ppl", ""),
    words("one_word_too_many", "model.ppl again", "model.ppl", "check"),
    words("model_file_missing", "check modle.ppl", "check model.ppl", ""),
    words("model_is_a_folder", "check .", "check model.ppl", ""),
    words("unknown_stage", "--stage gradients", "--stage gradient", "graph model.ppl"),
    words("unknown_sampler", "--infer nutz(draws=5)", "--infer nuts(draws=5)", RUN),
    words("unknown_sampler_option", "--infer nuts(tune=5)", "--infer nuts(warmup=5)", RUN),
    words("stages_joined_by_more", "--infer hmc()>nuts()", "--infer hmc()>>nuts()", RUN),
    words("option_of_an_earlier_stage", "--infer nuts()>>hmc() --max-depth 5", "--infer nuts(max_depth=5)>>hmc()", RUN),
    words("only_on_the_command_line", "--infer nuts(only=[slope])", "--infer nuts(only=[beta])", RUN),
    words("sampler_unreadable", "--infer nuts(draws:5)", "--infer nuts(draws=5)", RUN),
    words("no_draws", "--draws 0", "--draws 1", RUN),
    words("draws_is_no_number", "--draws many", "--draws 5", RUN),
    words("target_accept_of_two", "--target-accept 2", "--target-accept 0.8", RUN),
    words("thin_does_not_divide", "--draws 100 --thin 3", "--draws 99 --thin 3", RUN),
    words("negative_seed", "--seed -1", "--seed 1", RUN),
    words("keep_unknown", "--keep mu,alpa", "--keep mu,alpha", RUN),
    words("init_unknown_word", "--init random", "--init uniform", RUN),
    words("fix_unknown", "--fix sgima=1.0", "--fix sigma=1.0", RUN),
    words("fix_unreadable", "--fix sigma:1.0", "--fix sigma=1.0", RUN),
    words("fix_outside_its_support", "--fix sigma=-1.0", "--fix sigma=1.0", RUN),
    words("fix_of_data", "--fix floor=1.0", "", RUN),
    words("fix_of_a_noncentred_form", "--fix alpha_raw=0.0", "--fix alpha=0.0", RUN),
    words("fix_without_data", "--fix sgima=1.0", "--fix sigma=1.0", CHECK),
    words("out_folder_is_not_empty", "--out .", "--out out2", "run model.ppl --data data.json"),
    words("out_is_a_file", "--out data.json", "--out out2", "run model.ppl --data data.json"),
    words("report_of_no_folder", "report nowhere", "check model.ppl", ""),
    words("report_of_a_folder_without_draws", "report .", "check model.ppl", ""),
    words("graph_cannot_be_written", "--svg none/graph.svg", "--svg graph.svg", "graph model.ppl"),
]
PY = "check model.py:line"
IF = "    if slope > 0:\n        slope = -slope\n"


def python(name: str, old: str, new: str, wrong: str, right: str) -> Case:
    """A mistake in a Python model."""
    return Case(name, {"model.py": (old, new)}, {"model.py": (wrong, right)}, "python", PY)


PYTHONS = [
    words("python_function_missing", "check model.py:lime", PY, "", "python"),
    words("python_file_missing", "check modle.py:line", PY, "", "python"),
    Case(
        "python_file_with_two_models",
        {"model.py": f"{PYTHON}\n\nother = line\n", "argv": "check model.py"},
        {"argv": PY},
        "python",
    ),
    python("python_function_is_no_model", "@ppl.model\n", "", "def line", "@ppl.model\ndef line"),
    python("python_syntax_error", "Normal(0, 10))", "Normal(0, 10)", "Normal(0, 10)", "Normal(0, 10))"),
    python("python_exception", "slope * x", "slop * x", "slop *", "slope *"),
    python("python_unknown_distribution", "ppl.Normal(0", "ppl.Norml(0", "Norml", "Normal"),
    python("python_negative_scale", "x, 1)", "x, -1)", "-1)", "1)"),
    python(
        "python_condition",
        "    ppl.observe",
        f"{IF}    ppl.observe",
        IF,
        "    slope = ppl.where(slope > 0, -slope, slope)\n",
    ),
    python("python_call_of_a_model", "    ppl.observe", "    line(x, y)\n    ppl.observe", "    line(x, y)\n", ""),
]
CASES = [*LIBRARY, *DIMS, *NAMES, *DISTRIBUTIONS, *FUNCTIONS, *VALUES, *SIZES, *PLANS, *COMMANDS, *PYTHONS]
