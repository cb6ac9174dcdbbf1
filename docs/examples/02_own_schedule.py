r"""
Your own schedule
=================

A schedule is two formulas in :math:`t`: the coefficient of the noise and that of the data. They are parsed, never
evaluated as Python, and differentiated symbolically.
"""

# %%
# What holds of it is checked before anything is trained.

import torch

from flowops import Interpolant, interpolants, problems, reschedule

mine = Interpolant.from_expressions(alpha="(1-t)**2", beta="1-(1-t)**2", name="mine")
print(mine.validate())

# %%
# A schedule that cannot be trained on is told apart, with the place where it fails.

print(Interpolant.from_expressions(alpha="t", beta="1-t", name="backwards").validate())

# %%
# Velocity, score, denoiser and noise are the same knowledge under every schedule; `convert` changes one into another.

target = problems.gaussian_mixture([0.5, 0.5], [[-2.0, 0.0], [2.0, 0.0]], 0.1, mine)
x = target.sample(0.4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
score = mine.convert(0.4, x, target.b(0.4, x), "velocity", "score")
print("score from the velocity, against the exact one:", (score - target.score(0.4, x)).abs().max().item())

# %%
# A flow map moves to another schedule exactly, without another training: clock and scale are exchanged.

linear = interpolants.linear()
X = reschedule(target.b.flow_map(), mine, linear)
same = problems.gaussian_mixture([0.5, 0.5], [[-2.0, 0.0], [2.0, 0.0]], 0.1, linear).b.flow_map()
print("rescheduled against solved for:", (X(0.1, 0.9, x) - same(0.1, 0.9, x)).abs().max().item())

# %%
# The coefficients, beside those of a schedule with a name.

import matplotlib.pyplot as plt

t = torch.linspace(0, 1, 200, dtype=torch.float64)
figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
for schedule, style in ((mine, "-"), (interpolants.trigonometric(), ":")):
    axes.plot(t, schedule.alpha(t), style, color="#34558b", label=rf"$\alpha$, {schedule.name}")
    axes.plot(t, schedule.beta(t), style, color="#d1495b", label=rf"$\beta$, {schedule.name}")
axes.set(xlabel="$t$")
axes.legend(fontsize="small")
plt.show()

# %%
# On the command line the same formulas are ``flowops train digits --alpha "(1-t)**2" --beta "1-(1-t)**2"``, and the
# whole theory is checked on them by ``pytest theory_checks --alpha "(1-t)**2" --beta "1-(1-t)**2"``.
