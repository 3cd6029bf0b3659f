"""Estimators of the trace against closed forms: exact in both modes, unbiased, falling as 1/√k, the same for all solvers."""

import math
import weakref

import pytest
import torch
from torch import Tensor

from scorebench.bench.references import images
from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.errors import UsageError
from scorebench.reference_models.model import ExactModel, Model
from scorebench.reference_models.process import make_process
from scorebench.solvers.grids import make_grid
from scorebench.solvers.likelihood import log_likelihood
from scorebench.solvers.noise import probes
from scorebench.solvers.registry import find
from scorebench.solvers.trace import Kind, Mode, Reverse, Trace, check_differentiable

DOUBLE = torch.float64
T = torch.tensor(0.3, dtype=DOUBLE)


def estimate(model: Model, x: Tensor, trace: Trace) -> Tensor:
    vectors = trace.vectors(torch.arange(len(x)), model.shape)
    d, found = trace(lambda at: model.denoise(at, T), x, None if vectors is None else vectors.to(x))
    torch.testing.assert_close(d, model.denoise(x, T))
    return found


@pytest.mark.parametrize("mode", ["reverse", "forward"])
@pytest.mark.parametrize(
    "address", ["exact:gaussian", "exact:gmm", "exact:gmm?score_error=0.3", "exact:empirical-digits"]
)
def test_exact_is_the_closed_form(address: str, mode: Mode) -> None:
    """To the round-off of traces up to a thousand; the model's caches survive being differentiated."""
    model = load_model(address)
    assert isinstance(model, ExactModel)
    x = torch.randn(3, *model.shape, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    found = estimate(model, x, Trace("exact", mode=mode))
    torch.testing.assert_close(found, model.denoise_trace(x, T), rtol=1e-10, atol=1e-12)
    assert not model.denoise(x, T).requires_grad


def test_network_in_both_modes() -> None:
    """A U-Net with attention: the exact trace by rows and by columns, to float32's round-off over 64 sums."""
    model = load_model("digits-vp")
    x = torch.randn(2, *model.shape, generator=torch.Generator().manual_seed(0))
    by_rows, by_columns = (estimate(model, x, trace) for trace in (Trace("exact"), Trace("exact", mode="forward")))
    torch.testing.assert_close(by_rows, by_columns, rtol=1e-4, atol=1e-4)


def draws(trace: Trace, n: int) -> tuple[Tensor, float]:
    """n independent estimates of one trace (n,), that of the 16-dimensional Gaussian's gains from 1 to 0.01; the truth."""
    model = load_model("exact:gaussian")
    assert isinstance(model, ExactModel)
    x = torch.zeros(n, *model.shape, dtype=DOUBLE)
    return estimate(model, x, trace), float(model.denoise_trace(x[:1], T))


@pytest.mark.parametrize("kind", ["rademacher", "gaussian"])
def test_hutchinson_is_unbiased_and_its_error_falls_as_the_root_of_k(kind: Kind) -> None:
    """Over 1,000 probes the mean is within its 99.9 % interval; 16 times the probes have a quarter of the deviation."""
    single, truth = draws(Trace(kind), 1000)
    assert 0 < abs(float(single.mean()) - truth) < 3.29 * float(single.std()) / math.sqrt(1000)
    many, _ = draws(Trace(kind, 16), 1000)
    slope = math.log(float(many.std() / single.std())) / math.log(16)
    assert slope == pytest.approx(-0.5, abs=0.04)  # 1,000 draws know a deviation to 2.2 %, the slope to 0.012


def test_hutch_plus_plus_is_unbiased_and_beats_hutchinson_where_the_spectrum_decays() -> None:
    """Here by a third: the sketched directions hold most of the trace, and its share is exact."""
    (plain, truth), (better, _) = draws(Trace("rademacher", 12), 1000), draws(Trace("hutch++", 12), 1000)
    assert 0 < abs(float(better.mean()) - truth) < 3.29 * float(better.std()) / math.sqrt(1000)
    assert better.std() < 0.8 * plain.std()  # each is known to 2.2 %


def test_probes_belong_to_the_sample() -> None:
    """A function of (seed, index): subsets and orders give the same rows, and one probe is that of the references."""
    trace = Trace("rademacher", 3, seed=5)
    whole = trace.vectors(torch.arange(6), (2, 2))
    part = trace.vectors(torch.tensor([4, 1]), (2, 2))
    assert whole is not None and part is not None
    assert torch.equal(part, whole[:, [4, 1]])
    assert torch.equal(whole[0], probes(5, torch.arange(6), (2, 2)))
    assert not torch.equal(whole[0], whole[1])


def test_shared_probes_shrink_the_error_of_a_difference_tenfold() -> None:
    """Two solvers on the same images: the difference of their likelihoods, with the same probes and with others."""
    model = load_model("exact:gaussian")
    p, n = model.process, 64
    x, grid = images(model, n, 0, DOUBLE), make_grid("logsnr", p, 40, p.t_min_likelihood, p.t_max)

    def log_p(id: str, seed: int) -> Tensor:
        return log_likelihood(model, find(id), grid, x, trace=Trace("rademacher", 1, seed)).log_p

    one, same, other = log_p("exp-ab3", 0), log_p("dpmpp-2m", 0), log_p("dpmpp-2m", 1)
    assert (one - same).std() < (one - other).std() / 10


def test_hutchinson_log_likelihood_is_unbiased() -> None:
    """The estimate enters log p linearly: over 1,000 probes log p is the exact trace's, within its 99.9 % interval."""
    model = load_model("exact:gmm")
    p = model.process
    x = images(model, 1, 0, DOUBLE).expand(1000, -1)
    grid = make_grid("logsnr", p, 12, p.t_min_likelihood, p.t_max)
    exact = log_likelihood(model, find("exp-ab3"), grid, x[:1]).log_p[0]
    found = log_likelihood(model, find("exp-ab3"), grid, x, trace=Trace("rademacher")).log_p
    assert 0 < abs(found.mean() - exact) < 3.29 * found.std() / math.sqrt(1000)


def test_what_was_spent_is_counted() -> None:
    model = load_model("exact:gmm")
    p = model.process
    x, grid = images(model, 2, 0, DOUBLE), make_grid("logsnr", p, 4, p.t_min_likelihood, p.t_max)
    for trace, vjps, jvps in (
        (Trace("closed"), 0, 0),
        (Trace("exact"), 2, 0),
        (Trace("gaussian", 7), 7, 0),
        (Trace("hutch++", 3), 3, 0),
        (Trace("exact", mode="forward"), 0, 2),
    ):
        result = log_likelihood(model, find("ddim"), grid, x, trace=trace)
        assert (result.count.vjps, result.count.jvps) == (5 * vjps, 5 * jvps)
        assert result.products.tolist() == [5 * (vjps + jvps)] * 2
        assert result.trace == trace and result.count.calls == 5


class Cut:
    """A model whose graph is cut: all of it, or around a half that autograd still sees."""

    data = None

    def __init__(self, part: str) -> None:
        self.name, self.process, self.shape, self.part = f"cut-{part}", make_process("vp"), (3,), part

    def denoise(self, x: Tensor, t: Tensor) -> Tensor:
        match self.part:
            case "all":
                return torch.tanh(x.detach())
            case "half":
                return 0.3 * x + torch.tanh(x.detach())
        return torch.from_numpy(x.numpy()).tanh()


@pytest.mark.parametrize("part", ["all", "half", "numpy"])
def test_a_model_without_a_differentiable_path_is_refused(part: str) -> None:
    with pytest.raises(UsageError, match=rf"cut-{part}.*no differentiable path"):
        check_differentiable(Cut(part))


@pytest.mark.parametrize("address", ["digits-vp", "digits-ve", "exact:gmm?process=flow"])
def test_models_of_ours_are_differentiable(address: str) -> None:
    check_differentiable(load_model(address))


def test_bad_estimators_are_refused() -> None:
    with pytest.raises(UsageError, match="did you mean rademacher"):
        Trace("rademacker")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="multiple of 3"):
        Trace("hutch++", 4)
    with pytest.raises(UsageError, match="at least 1"):
        Trace("gaussian", 0)


def test_forward_mode_where_the_model_has_none_is_said() -> None:
    """Attention as networks have it; an error of another kind stays what it is."""

    def attends(x: Tensor) -> Tensor:
        return torch.nn.functional.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None])[:, 0]

    def breaks(x: Tensor) -> Tensor:
        raise RuntimeError("can't allocate memory")

    x, trace = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(0)), Trace("exact", mode="forward")
    with pytest.raises(UsageError, match="no forward-mode derivative, use mode reverse"):
        trace(attends, x, None)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        trace(breaks, x, None)


def test_a_graph_is_freed_with_the_products_that_it_was_made_for() -> None:
    """Operations keep their inputs (sin) or their results (exp): neither may hold the graph that holds it."""
    products = Reverse(lambda x: torch.exp(torch.sin(x)), torch.ones(2, 3), lambda: None)
    assert products.kept == 6 * 4  # the result of exp; what sin keeps is the leaf
    leaf = weakref.ref(products.x)
    del products
    assert leaf() is None
