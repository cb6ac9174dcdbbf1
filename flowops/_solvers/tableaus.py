"""Embedded pairs of explicit Runge-Kutta methods, with their coefficients as exact fractions.

A step from `y` is `k_i = f(tau + c_i h, y + h sum_j a_ij k_j)`, its end `y + h sum_j b_j k_j` and its error estimate
`h sum_j e_j k_j`. Every pair is written so that the last row of `a` is `b` ("first same as last"): the last slope is
that of the end, with which the next step starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache

import torch
from torch import Tensor

Row = tuple[Fraction, ...]


@dataclass(frozen=True, kw_only=True)
class Adaptive:
    """A method whose steps follow from an estimate of their error.

    Attributes:
        name: what it is called.
        order: the end of a step is right to O(h^(order + 1)).
        rate: the error estimate is O(h^rate).
        share: the tolerance of a step is this part of the one asked for. The estimate of a pair of order 5 is that of
            its solution of order 4, and errors grow on the way: with a fifth, the end is within ten tolerances on
            most problems of DETEST, as it is with order 8.
    """

    name: str
    order: int
    rate: int
    share: float = 1.0


@dataclass(frozen=True)
class Coefficients:
    """The numbers of a pair as tensors of one dtype and device.

    Attributes:
        c: stage times, `[stages, 1]`.
        rows: row `i` of `a`, `[i]`.
        errors: weights of the error estimates, `[estimates, stages]`.
    """

    c: Tensor
    rows: tuple[Tensor, ...]
    errors: Tensor


@dataclass(frozen=True, kw_only=True)
class Embedded(Adaptive):
    """An explicit pair whose last stage is the end of the step.

    Attributes:
        a: stage weights, row `i` holds `i` entries; the last row are the weights of the end.
        errors: weights of the error estimates; of two, the one of higher order first.
        boundary: how far the region of stability reaches on the negative real axis.
    """

    a: tuple[Row, ...]
    errors: tuple[Row, ...]
    boundary: float

    @property
    def stages(self) -> int:
        """How many slopes a step has, the first of them known from the step before."""
        return len(self.a)

    @property
    def b(self) -> Row:
        """Weights of the end of a step."""
        return self.a[-1]

    @cached_property
    def c(self) -> Row:
        """Stage times, the row sums of `a`."""
        return tuple(sum(row, Fraction()) for row in self.a)

    @cached_property
    def stability(self) -> Row:
        r"""The coefficients of $R(z)$, by which a step on $\dot x=zx$ multiplies."""
        return stability(self.a[: len(self.b)], self.b)

    def coefficients(self, like: Tensor) -> Coefficients:
        """The numbers in the dtype and on the device of a tensor."""
        return _coefficients(self.name, like.dtype, like.device)


@lru_cache
def _coefficients(name: str, dtype: torch.dtype, device: torch.device) -> Coefficients:
    pair = EMBEDDED[name]

    def tensor(row: Row) -> Tensor:
        return torch.tensor([float(w) for w in row], dtype=dtype, device=device)

    with torch.inference_mode(False):
        errors = torch.stack([tensor(row) for row in pair.errors])
        return Coefficients(tensor(pair.c)[:, None], tuple(tensor(row) for row in pair.a), errors)


def stability(a: Sequence[Row], b: Row) -> Row:
    r"""The coefficients of $R(z)=1+z\,b^\top(I-zA)^{-1}\mathbb 1$ of an explicit tableau: 1 and $b^\top A^k\mathbb 1$.

    Source: Hairer, Wanner, Solving ODEs II, §IV.2.
    """
    power: Row = (Fraction(1),) * len(b)
    found = [Fraction(1)]
    for _ in b:
        found.append(sum((w * v for w, v in zip(b, power, strict=True)), Fraction()))
        power = tuple(sum((w * v for w, v in zip(row, power, strict=False)), Fraction()) for row in a)
    return tuple(found)


def row_of(text: str) -> Row:
    """Fractions and decimals, separated by spaces."""
    return tuple(Fraction(word) for word in text.split())


def rows_of(*texts: str) -> tuple[Row, ...]:
    """The rows of a tableau, the first of them empty."""
    return ((), *(row_of(text) for text in texts))


def _minus(row: Row, other: Row) -> Row:
    """The difference of two rows of weights, with a zero for the last slope where `row` does without it."""
    return tuple(v - w for v, w in zip((*row, Fraction()), other, strict=True))


_HEUN = rows_of("1", "1/2 1/2")

_BOGACKI_SHAMPINE = rows_of("1/2", "0 3/4", "2/9 1/3 4/9")

_DORMAND_PRINCE = rows_of(
    "1/5",
    "3/40 9/40",
    "44/45 -56/15 32/9",
    "19372/6561 -25360/2187 64448/6561 -212/729",
    "9017/3168 -355/33 46732/5247 49/176 -5103/18656",
    "35/384 0 500/1113 125/192 -2187/6784 11/84",
)

_TSITOURAS = rows_of(
    "0.161",
    "-0.008480655492356989 0.335480655492357",
    "2.8971530571054935 -6.359448489975075 4.3622954328695815",
    "5.325864828439257 -11.748883564062828 7.4955393428898365 -0.09249506636175525",
    "5.86145544294642 -12.92096931784711 8.159367898576159 -0.071584973281401 -0.028269050394068",
    "0.09646076681806523 0.01 0.4798896504144996 1.379008574103742 -3.290069515436081 2.32471052409977417",
)

_PRINCE_DORMAND = rows_of(
    "1/18",
    "1/48 1/16",
    "1/32 0 3/32",
    "5/16 0 -75/64 75/64",
    "3/80 0 0 3/16 3/20",
    "29443841/614563906 0 0 77736538/692538347 -28693883/1125000000 23124283/1800000000",
    "16016141/946692911 0 0 61564180/158732637 22789713/633445777 545815736/2771057229 -180193667/1043307555",
    "39632708/573591083 0 0 -433636366/683701615 -421739975/2616292301 100302831/723423059 "
    "790204164/839813087 800635310/3783071287",
    "246121993/1340847787 0 0 -37695042795/15268766246 -309121744/1061227803 -12992083/490766935 "
    "6005943493/2108947869 393006217/1396673457 123872331/1001029789",
    "-1028468189/846180014 0 0 8478235783/508512852 1311729495/1432422823 -10304129995/1701304382 "
    "-48777925059/3047939560 15336726248/1032824649 -45442868181/3398467696 3065993473/597172653",
    "185892177/718116043 0 0 -3185094517/667107341 -477755414/1098053517 -703635378/230739211 "
    "5731566787/1027545527 5232866602/850066563 -4093664535/808688257 3962137247/1805957418 "
    "65686358/487910083",
    "403863854/491063109 0 0 -5068492393/434740067 -411421997/543043805 652783627/914296604 "
    "11173962825/925320556 -13158990841/6184727034 3936647629/1978049680 -160528059/685178525 "
    "248638103/1413531060 0",
    "14005451/335480064 0 0 0 0 -59238493/1068277825 181606767/758867731 561292985/797845732 "
    "-1041891430/1371343529 760417239/1151165299 118820643/751138087 -528747749/2220607170 1/4",
)

_HAIRER = rows_of(
    "5.26001519587677318785587544488e-2",
    "1.97250569845378994544595329183e-2 5.91751709536136983633785987549e-2",
    "2.95875854768068491816892993775e-2 0 8.87627564304205475450678981324e-2",
    "2.41365134159266685502369798665e-1 0 -8.84549479328286085344864962717e-1 9.24834003261792003115737966543e-1",
    "3.7037037037037037037037037037e-2 0 0 1.70828608729473871279604482173e-1 1.25467687566822425016691814123e-1",
    "3.7109375e-2 0 0 1.70252211019544039314978060272e-1 6.02165389804559606850219397283e-2 -1.7578125e-2",
    "3.70920001185047927108779319836e-2 0 0 1.70383925712239993810214054705e-1 1.07262030446373284651809199168e-1 "
    "-1.53194377486244017527936158236e-2 8.27378916381402288758473766002e-3",
    "6.24110958716075717114429577812e-1 0 0 -3.36089262944694129406857109825 -8.68219346841726006818189891453e-1 "
    "2.75920996994467083049415600797e1 2.01540675504778934086186788979e1 -4.34898841810699588477366255144e1",
    "4.77662536438264365890433908527e-1 0 0 -2.48811461997166764192642586468 -5.90290826836842996371446475743e-1 "
    "2.12300514481811942347288949897e1 1.52792336328824235832596922938e1 -3.32882109689848629194453265587e1 "
    "-2.03312017085086261358222928593e-2",
    "-9.3714243008598732571704021658e-1 0 0 5.18637242884406370830023853209 1.09143734899672957818500254654 "
    "-8.14978701074692612513997267357 -1.85200656599969598641566180701e1 2.27394870993505042818970056734e1 "
    "2.49360555267965238987089396762 -3.0467644718982195003823669022",
    "2.27331014751653820792359768449 0 0 -1.05344954667372501984066689879e1 -2.00087205822486249909675718444 "
    "-1.79589318631187989172765950534e1 2.79488845294199600508499808837e1 -2.85899827713502369474065508674 "
    "-8.87285693353062954433549289258 1.23605671757943030647266201528e1 6.43392746015763530355970484046e-1",
    "5.42937341165687622380535766363e-2 0 0 0 0 4.45031289275240888144113950566 1.89151789931450038304281599044 "
    "-5.8012039600105847814672114227 3.1116436695781989440891606237e-1 -1.52160949662516078556178806805e-1 "
    "2.01365400804030348374776537501e-1 4.47106157277725905176885569043e-2",
)

EMBEDDED = {
    pair.name: pair
    for pair in (
        # Prince, Dormand 1981: RK8(7)13M, in fractions that are rounded to 18 digits.
        Embedded(
            name="dopri8",
            order=8,
            rate=8,
            a=_PRINCE_DORMAND,
            errors=(
                _minus(
                    _PRINCE_DORMAND[-1],
                    row_of(
                        "13451932/455176623 0 0 0 0 -808719846/976000145 1757004468/5645159321 656045339/265891186 "
                        "-3867574721/1518517206 465885868/322736535 53011238/667516719 2/45 0 0"
                    ),
                ),
            ),
            boundary=5.17,
        ),
        # Hairer, Nørsett, Wanner, Solving ODEs I, §II.10: eighth order with estimates of orders 5 and 3.
        Embedded(
            name="dop853",
            order=8,
            rate=8,
            a=_HAIRER,
            errors=(
                row_of(
                    "0.01312004499419488073250102996 0 0 0 0 -1.225156446376204440720569753 "
                    "-0.4957589496572501915214079952 1.664377182454986536961530415 -0.3503288487499736816886487290 "
                    "0.3341791187130174790297318841 0.08192320648511571246570742613 -0.02235530786388629525884427845 0"
                ),
                _minus(
                    _HAIRER[-1],
                    row_of(
                        "0.244094488188976377952755905512 0 0 0 0 0 0 0 0.733846688281611857341361741547 0 0 "
                        "0.0220588235294117647058823529412 0"
                    ),
                ),
            ),
            boundary=6.39,
            share=0.3,
        ),
        # Dormand, Prince 1980.
        Embedded(
            name="dopri5",
            order=5,
            rate=5,
            a=_DORMAND_PRINCE,
            errors=(
                _minus(_DORMAND_PRINCE[-1], row_of("5179/57600 0 7571/16695 393/640 -92097/339200 187/2100 1/40")),
            ),
            boundary=3.31,
            share=0.2,
        ),
        # Tsitouras 2011, published in decimals; here the last two rows sum up to one.
        Embedded(
            name="tsit5",
            order=5,
            rate=5,
            a=_TSITOURAS,
            errors=(
                row_of(
                    "-0.00178001105222577714 -0.0008164344596567469 0.007880878010261995 -0.1447110071732629 "
                    "0.5823571654525552 -0.45808210592918697 0.015151515151515152"
                ),
            ),
            boundary=3.51,
            share=0.2,
        ),
        # Bogacki, Shampine 1989.
        Embedded(
            name="bosh3",
            order=3,
            rate=3,
            a=_BOGACKI_SHAMPINE,
            errors=(_minus(_BOGACKI_SHAMPINE[-1], row_of("7/24 1/4 1/3 1/8")),),
            boundary=2.51,
        ),
        # Heun's method over Euler's.
        Embedded(
            name="adaptive_heun", order=2, rate=2, a=_HEUN, errors=(_minus(_HEUN[-1], row_of("1 0 0")),), boundary=2.0
        ),
    )
}
