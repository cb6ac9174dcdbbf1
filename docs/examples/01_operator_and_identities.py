r"""
An operator and its identities
==============================

A velocity field :math:`b_t(x)` has a flow map :math:`X_{s,t}(x)`: the solution at time :math:`t` of
:math:`\dot x_t=b_t(x_t)` that is in :math:`x` at time :math:`s`. Here the field belongs to a law that is known exactly,
its flow map is solved for, and every identity that a flow map must satisfy is evaluated.
"""

# %%
# The interpolant :math:`I_t=\cos(\tfrac\pi2t)\,x_0+\sin(\tfrac\pi2t)\,x_1` joins normal noise with a mixture of three
# modes. Its field :math:`b_t(x)=\mathbb E[\dot I_t\mid I_t=x]` is known in closed form.

import torch

from flowops import FlowMap, problems, residuals
from flowops.interpolants import trigonometric

modes = [[2.0, 0.0], [-1.0, 1.8], [-1.0, -1.8]]
target = problems.gaussian_mixture([0.4, 0.3, 0.3], modes, 0.1, trigonometric())
b, X = target.b, target.b.flow_map()

# %%
# The map takes a time for each sample, forward and backward, and its derivatives come from the equations that they
# satisfy, not from differences.

generator = torch.Generator().manual_seed(0)
x = target.sample(0.2, 200, generator=generator, dtype=torch.float64)
t = torch.rand(200, generator=generator, dtype=torch.float64)
u = torch.ones_like(x)

y = X(0.2, t, x)
print("there and back:", (X(t, 0.2, y) - x).abs().max().item())
print("derivative in t:", X.dt(0.2, t, x).shape, " Jacobian times u:", X.jvp(0.2, t, x, u).shape)

# %%
# Each identity is one function. The derivatives of a solved map are taken from the Lagrangian and the Eulerian
# equation, so that these hold exactly; the other two hold up to the tolerance of the solver.

identities = {
    "Lagrangian: d/dt X = b(X)": lambda X: residuals.lagrangian(X, b, 0.2, t, x),
    "Eulerian: d/ds X + grad X b = 0": lambda X: residuals.eulerian(X, b, 0.2, t, x),
    "semigroup: X_ut(X_su) = X_st": lambda X: residuals.semigroup(X, 0.2, 0.5, t, x),
    "inverse: X_ts(X_st) = 1": lambda X: residuals.inverse(X, 0.2, t, x),
}
for name, residual in identities.items():
    print(f"{name:<34}{residual(X).abs().max():.1e}")

# %%
# On a map that is not the flow, such as one step of Euler, all of them see it.

euler = FlowMap.from_function(lambda s, t, x: x + (t - s)[:, None] * b(s, x))
for name, residual in identities.items():
    print(f"{name:<34}{residual(euler).abs().max():.1e}")

# %%
# The flow carries noise to data. `X.path` gives many times of one solve.

import matplotlib.pyplot as plt

x0 = target.sample_base(150, generator=generator, dtype=torch.float64)
times = torch.linspace(0, 1, 61, dtype=torch.float64)
with torch.no_grad():
    paths = X.path(0.0, times, x0)

figure, axes = plt.subplots(figsize=(5, 4.5), layout="constrained")
axes.plot(paths[..., 0], paths[..., 1], color="#34558b", linewidth=0.5, alpha=0.5)
axes.scatter(*paths[0].T, s=8, color="#999999", label="$x_0$", zorder=2)
axes.scatter(*paths[-1].T, s=8, color="#d1495b", label="$X_{0,1}(x_0)$", zorder=3)
axes.set(aspect="equal", title="trajectories of the exact flow map")
axes.legend()
plt.show()
