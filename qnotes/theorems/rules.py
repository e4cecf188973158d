"""The rules of proofs: each says in a few lines from which facts a fact follows.

This is all that has to be believed: these rules, `sums_over_layers`, `axioms`, and SymPy's `expand`
and derivatives. A rule sees the fact that is claimed and the facts that it is to follow from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from itertools import product

import sympy as sp

from qnotes.theorems.facts import Fact, StepError, supposed, within
from qnotes.theorems.sums_over_layers import (
    Ranges,
    bound_indices,
    entered,
    expanded,
    nonnegative,
    normal,
    positive,
    put,
    replaced,
)


@dataclass(frozen=True)
class Used:
    """A fact that a step uses, and the expressions that it puts in for the fact's indices."""

    fact: Fact
    images: dict[sp.Symbol, sp.Expr] = field(default_factory=dict)


@dataclass(frozen=True)
class Rule:
    """How a fact follows from others; `words` is what the page says."""

    words = ""

    def verify(self, claim: Fact, used: tuple[Used, ...], fixed: frozenset) -> None:
        """Raise StepError unless the claim follows.

        Args:
            claim: the fact that a step yields.
            used: the facts from which it is to follow.
            fixed: symbols that hypotheses or definitions speak of.
        """
        known = {use.fact for use in used}
        for use in used:
            for given in use.fact.given:
                if given not in claim.given and given not in known:
                    raise StepError(f"supposes {given.relation}, which the claim does not")
        supplied = {given for use in used for given in use.fact.given}
        self.derive(claim, tuple(use for use in used if use.fact not in supplied), fixed)

    def derive(self, claim: Fact, used: tuple[Used, ...], fixed: frozenset) -> None:
        """As `verify`, where what is supposed is in order."""
        raise NotImplementedError


@dataclass(frozen=True)
class Algebra(Rule):
    """The gap of the claim is a combination of the gaps of the used facts.

    scale · gap = Σ weight · gap of a used fact, plus, where something is given away, a rest whose
    terms are not negative. So it carries equations, transitivity, sums of inequalities, and their
    products with what is not negative. A pair of weights stands on both sides of an equation of
    matrices.
    """

    weights: tuple[sp.Expr | tuple[sp.Expr, sp.Expr], ...] = ()
    scale: sp.Expr = sp.S.One
    gives_away: bool = False

    words = "algebra"

    def derive(self, claim, used, fixed):
        """The rest is computed, and each of its terms looked at."""
        opened, images = claim.opened()
        pairs = [x if isinstance(x, tuple) else (x, 1) for x in self.weights or (1,) * len(used)]
        weights = [tuple(put(weight, images) for weight in pair) for pair in pairs]
        scale = put(self.scale, images)
        if len(weights) != len(used):
            raise StepError(f"{len(weights)} weights for {len(used)} facts")
        if not positive(scale, opened.each):
            raise StepError(f"the scale {self.scale} need not be positive")
        rest, strict, parts = scale * opened.gap, False, []
        for (weight, behind), use in zip(weights, used, strict=True):
            sides = _instance(use, claim, images, opened.each)
            signs = use.fact.sign
            if signs != "=" and not (behind == 1 and nonnegative(weight, opened.each)):
                raise StepError(f"the weight {weight} need not be nonnegative")
            if signs != "=" and claim.sign == "=":
                raise StepError("an equation does not follow from inequalities")
            strict |= signs in ("<", ">") and positive(weight, opened.each)
            left, right = sides
            parts.append(weight * (left - right if signs in (">=", ">") else right - left) * behind)
        parts = [normal(part, opened.each) for part in parts]
        rest = normal(rest - sum(parts), opened.each)
        if (why := _remains(rest, claim.sign, opened.each)) is not None:
            raise StepError(why)
        if not self.gives_away and not _is_zero(rest):
            raise StepError(rest)
        for part, use in zip(parts, used, strict=True):
            if (
                claim.sign in ("=", "<=", ">=")
                and _remains(rest + part, claim.sign, opened.each) is None
            ):
                raise StepError(f"{use.fact.relation} is not needed")
        if claim.sign in ("<", ">") and not strict and not positive(rest, opened.each):
            raise StepError(f"{rest} may be zero")


@dataclass(frozen=True)
class Replace(Rule):
    """The used facts are put into the left side: equals anywhere, larger ones where nothing falls.

    For a claim with ≥ smaller ones are put in.
    """

    words = "put in"

    def derive(self, claim, used, fixed):
        """Where an expression stands is looked at part by part."""
        opened, images = claim.opened()
        rising = claim.sign != "="
        pairs = []
        for use in used:
            old, new = use.fact.left, use.fact.right
            if use.fact.sign != "=":
                old, new = use.fact.smaller, use.fact.larger
                if not rising:
                    raise StepError("an equation does not follow from inequalities")
                if claim.sign in (">=", ">"):
                    old, new = new, old
            pairs.append((use, old, new))
        if claim.sign in ("<", ">"):
            raise StepError("what is put in shows no strict inequality")
        place = _Place(claim, images, pairs, rising)
        rest = normal(place.put_in(opened.left, opened.each) - opened.right, opened.each)
        if not _is_zero(rest):
            raise StepError(rest)
        if missed := [use.fact.relation for use, *_ in pairs if use not in place.met]:
            raise StepError(f"nothing was put in for {missed[0]}")


class _Place:
    """Walks through an expression and puts in larger parts for smaller ones."""

    def __init__(self, claim: Fact, images: dict, pairs: list, rising: bool) -> None:
        self.claim, self.images, self.pairs, self.rising = claim, images, pairs, rising
        self.met: list[Used] = []

    def put_in(self, part: sp.Expr, ranges: Ranges) -> sp.Expr:
        """The part with all replacements; raises StepError where one might make it smaller."""
        for use, old, new in self.pairs:
            for images in self._candidates(use, old, part, ranges):
                if put(old, images) == part and within(
                    images, use.fact.each, ranges
                ):
                    self.met.append(use)
                    use.fact.at(images)  # captures nothing
                    return put(new, images)
            if part.is_Mul and old.is_Mul and part.is_commutative:
                for images in self._candidates(use, old, part, ranges):
                    factors = set(put(old, images).args)
                    if factors < set(part.args) and within(images, use.fact.each, ranges):
                        self.met.append(use)
                        use.fact.at(images)
                        others = sp.Mul(*[x for x in part.args if x not in factors])
                        self._must_be_nonnegative((others,), ranges)
                        return others * put(new, images)
        if isinstance(part, sp.Indexed) or not part.args:
            return part
        if isinstance(part, sp.Sum | sp.Product):
            body, inner = entered(part)
            new = self.put_in(body, (*ranges, inner))
            if new == body:
                return part
            signs = (body, new) if isinstance(part, sp.Product) else ()
            self._must_be_nonnegative(signs, (*ranges, inner))
            return part.func(new, inner)
        new = [self.put_in(arg, ranges) for arg in part.args]
        changed = [
            at for at, (old, now) in enumerate(zip(part.args, new, strict=True)) if old != now
        ]
        if changed and self.rising:
            self._must_rise(part, new, changed, ranges)
        return part.func(*new) if changed else part

    def _candidates(self, use, old, part, ranges):
        """Images of the indices of a fact that could make its side this part."""
        if old.func != part.func and not old.is_Symbol:
            return
        if isinstance(old, sp.Indexed):  # quicker, where the indices can be read off
            if old.base != part.base:
                return
            read = dict(zip(old.indices, part.indices, strict=True))
        else:
            read = {}
        bare = {index for at in part.atoms(sp.Indexed) for index in at.indices}
        bare |= {index + 1 for index in bare} | {index for index, *_ in ranges}
        free = {symbol for fact in use.fact.given for symbol in fact_symbols(fact)}
        choices = []
        for index, *_ in use.fact.each:
            own = [self.images[index]] if index in self.images else []
            asked = use.images.get(index)
            if asked is not None:
                own = [put(asked, self.images)]
            if index in read:
                own = own if index in free or asked is not None else [read[index]]
            choices.append(own if index in {*free, *read} or asked is not None else [*own, *bare])
        for images in product(*choices):
            yield dict(zip([index for index, *_ in use.fact.each], images, strict=True))

    def _must_rise(self, part, new, changed, ranges) -> None:
        if isinstance(part, sp.Add | sp.Max | sp.Min | sp.exp):
            return
        if isinstance(part, sp.Mul):
            others = [arg for at, arg in enumerate(part.args) if at not in changed]
            both = [x for at in changed for x in (part.args[at], new[at])]
            return self._must_be_nonnegative((*others, *(both if len(changed) > 1 else ())), ranges)
        if isinstance(part, sp.Pow) and changed == [0]:
            return self._must_be_nonnegative((part.base, new[0], part.exp), ranges)
        if isinstance(part, sp.Pow) and changed == [1]:
            return self._must_be_nonnegative((part.base - 1,), ranges)
        raise StepError(f"{part} need not grow with its parts")

    def _must_be_nonnegative(self, expressions, ranges) -> None:
        for expression in expressions:
            if self.rising and not nonnegative(expression, ranges):
                raise StepError(f"the sign of {expression} is not known")


@dataclass(frozen=True)
class Suppose(Rule):
    """Something is supposed for an index: the fact rests on itself."""

    words = "supposed"

    def verify(self, claim, used, fixed):
        """The fact must name itself as what it supposes."""
        if used or not claim.each or len(claim.given) != 1:
            raise StepError("a supposition uses nothing, for one index")
        if claim != supposed(claim.given[0], claim.each[0]):
            raise StepError(f"{claim.relation} is not what is supposed")


@dataclass(frozen=True)
class Induction(Rule):
    """From a first value, and from each to the next, to all values of the outermost index."""

    words = "induction"

    def verify(self, claim, used, fixed):
        """Only the index moves, never L; the step must suppose exactly the claim before it."""
        if len(used) != 2 or not claim.each:
            raise StepError("an induction needs a start and a step, and an index")
        (index, low, high), *others = claim.each
        start, step = (use.fact for use in used)
        body = Fact(claim.left, claim.sign, claim.right, tuple(others), claim.given)
        if any(use.images for use in used) or claim.given:
            raise StepError("an induction takes its facts as they are, and supposes nothing")
        _must_be_alike(start, body.mapped(_put(index, low)), "the start")
        before = body.mapped(_put(index, index - 1))
        expected = Fact(
            claim.left, claim.sign, claim.right, ((index, low + 1, high), *others), (before,)
        )
        _must_be_alike(step, expected, "the step")


@dataclass(frozen=True)
class Split(Rule):
    """A sum or product is what comes before an index, the term there, and what comes after."""

    at: sp.Expr

    words = "split"

    def derive(self, claim, used, fixed):
        """The index must lie within the limits."""
        whole = claim.left
        over = isinstance(whole, sp.Sum | sp.Product) and len(whole.limits) == 1
        if used or claim.sign != "=" or not over:
            raise StepError("a split is an equation for a sum or product, from nothing else")
        ((index, low, high),) = whole.limits
        combine = sp.Add if isinstance(whole, sp.Sum) else sp.Mul
        parts = combine(
            whole.func(whole.function, (index, low, self.at - 1)),
            put(whole.function, {index: self.at}),
            whole.func(whole.function, (index, self.at + 1, high)),
        )
        _opened, _images = claim.opened()
        if not within({index: self.at}, ((index, low, high),), claim.each) or claim.right != parts:
            raise StepError(f"{claim.right} is not {whole} split at {self.at}")


@dataclass(frozen=True)
class Limit(Rule):
    """What holds for every t > 0 holds for t = 0, where both sides are polynomials in t."""

    variable: sp.Symbol

    words = "t to 0"

    def derive(self, claim, used, fixed):
        """No hypothesis may speak of t, and the inequality must not be strict in the claim."""
        t = self.variable
        _must_be_so_many(used, 1)
        (use,) = used
        if (
            t in fixed
            or t in {index for index, *_ in claim.each}
            or any(t in fact_symbols(fact) for fact in use.fact.given)
            or use.images
        ):
            raise StepError(f"{t} is not free")
        if not t.is_positive or t.is_integer or claim.sign in ("<", ">"):
            raise StepError(f"{t} must be any positive number, and the claim not strict")
        for side in (use.fact.left, use.fact.right):
            if not _is_polynomial(side, t, use.fact.opened()[0].each):
                raise StepError(f"{side} need not be continuous at {t} = 0")
        _must_be_alike(claim, use.fact.mapped(lambda side: side.subs(t, 0)), "the limit")


@dataclass(frozen=True)
class Largest(Rule):
    """A maximum is at least each of its members, and at most what all of them are at most.

    And a minimum is at least what all of its members are at least.
    """

    words = "maximum"

    def derive(self, claim, used, fixed):
        """Either the larger side is the maximum, or the smaller one and each member was shown."""
        if claim.sign not in ("<=", ">="):
            raise StepError("needs a claim with ≤ or ≥")
        member = isinstance(claim.larger, sp.Max) and claim.smaller in claim.larger.args
        shown = {(use.fact.smaller, use.fact.larger) for use in used if _plain_order(use, claim)}
        wanted = {(None, None)}
        if isinstance(claim.smaller, sp.Max):
            wanted = {(x, claim.larger) for x in claim.smaller.args}
        elif isinstance(claim.larger, sp.Min):
            wanted = {(claim.smaller, x) for x in claim.larger.args}
        if member != (not used) or not (member or shown == wanted):
            raise StepError(f"{claim.relation} is not about a maximum and its members")


@dataclass(frozen=True)
class Power(Rule):
    """From log x / log base ≤ y to x ≤ base^y, for a base above 1."""

    base: sp.Expr

    words = "power"

    def derive(self, claim, used, fixed):
        """The used fact must be about exactly these logarithms."""
        _must_be_so_many(used, 1)
        (use,) = used
        y = use.fact.larger
        expected = Fact(claim.left, "<=", self.base**y, use.fact.each, claim.given)
        logarithm = sp.log(claim.left) / sp.log(self.base)
        if not positive(self.base - 1) or not positive(claim.left) or use.images:
            raise StepError("needs a base above 1 and a positive number")
        if claim != expected or use.fact.sign != "<=" or use.fact.smaller != logarithm:
            raise StepError(f"{claim.relation} is not about {use.fact.relation}")


@dataclass(frozen=True)
class Both(Rule):
    """Not larger and not smaller: equal."""

    words = "both ways"

    def derive(self, claim, used, fixed):
        """The two facts must be the two halves of the claim."""
        halves = [(use.fact.smaller, use.fact.larger, use.fact.each) for use in used]
        sides = (claim.left, claim.right)
        expected = [(*sides, claim.each), (*sides[::-1], claim.each)]
        if claim.sign != "=" or halves != expected or any(u.images for u in used):
            raise StepError("an equation needs both inequalities")


@dataclass(frozen=True)
class Falling(Rule):
    """A polynomial in s and m = 1 - s falls, as s grows from 0 to 1, if its slope is not positive.

    From ∂f/∂s - ∂f/∂m ≤ 0 for all s, m > 0, and 0 ≤ a ≤ b ≤ 1, to f(b, 1-b) ≤ f(a, 1-a).
    """

    function: sp.Expr
    grows: sp.Symbol
    shrinks: sp.Symbol

    words = "falls"

    def derive(self, claim, used, fixed):
        """The used facts are the slope, that a is not below 0, a ≤ b, and that b is not above 1."""
        s, m = self.grows, self.shrinks
        _must_be_so_many(used, 4)
        slope, above, order, below = (use.fact for use in used)
        if {s, m} & fixed or not all(x.is_positive and not x.is_integer for x in (s, m)):
            raise StepError(f"{s} and {m} must stand for any positive numbers")
        derivative = sp.diff(self.function, s) - sp.diff(self.function, m)
        if (slope.sign, slope.right) != ("<=", 0) or not _is_zero(normal(slope.left - derivative)):
            raise StepError(f"{slope.left} ≤ 0 is not about the derivative")
        a, b = order.smaller, order.larger
        ends = ((above.smaller, above.larger), (below.smaller, below.larger))
        if ends != ((0, a), (b, 1)) or "=" in (above.sign, order.sign, below.sign):
            raise StepError("needs 0 ≤ a, a ≤ b and b ≤ 1, in this order")
        at = lambda x: self.function.subs({s: x, m: 1 - x}, simultaneous=True)  # noqa: E731
        if (slope.each, slope.given) != (claim.each, ()) or any(
            x.each for x in (above, order, below)
        ):
            raise StepError("the slope must be known for the indices of the claim")
        if claim != Fact(at(b), "<=", at(a), claim.each) or any(use.images for use in used):
            raise StepError("the claim is not that of the two points")


@dataclass(frozen=True)
class Primitive(Rule):
    """The integral from a number on is minus the value there of what has the integrand for slope.

    Used where that is made of exp, erfc and whole powers, so smooth, and vanishes at infinity.
    """

    primitive: sp.Expr

    words = "antiderivative"

    def derive(self, claim, used, fixed):
        """The used fact says that the slope is the integrand, for any number x."""
        _must_be_so_many(used, 1)
        whole, slope = claim.left, used[0].fact
        if not isinstance(whole, sp.Integral) or len(whole.limits) != 1 or claim.sign != "=":
            raise StepError(f"{claim.relation} is not about an integral")
        ((x, low, high),) = whole.limits
        if high != sp.oo or low.has(x) or x in fixed or claim.each or slope.each or slope.given:
            raise StepError(f"{x} must run from a number to infinity, and stand for any number")
        powers = [part.exp for part in self.primitive.atoms(sp.Pow) if part.base.has(x)]
        functions = {part.func for part in self.primitive.atoms(sp.Function) if part.has(x)}
        if functions - {sp.exp, sp.erfc} or not all(p.is_Integer and p > 0 for p in powers):
            raise StepError(f"{self.primitive} need not be smooth")
        if slope.sign != "=" or not _is_zero(normal(slope.left - self.primitive.diff(x))):
            raise StepError(f"{slope.left} is not the slope of {self.primitive}")
        if slope.right != whole.function or sp.limit(self.primitive, x, sp.oo) != 0:
            raise StepError(f"{self.primitive} is no antiderivative that vanishes at infinity")
        rest = normal(claim.right + self.primitive.subs(x, low))
        if not _is_zero(rest):
            raise StepError(rest)


@dataclass(frozen=True)
class Apply(Rule):
    """Another theorem, for other symbols: its hypotheses are shown, its conclusion is used.

    Attributes:
        theorem: the premise.
        meanings: what stands for its symbols and families, where it is not themselves.
    """

    theorem: object
    meanings: dict = field(default_factory=dict)

    @property
    def words(self) -> str:
        """Its key."""
        return f"Theorem {self.theorem.key}"

    def verify(self, claim, used, fixed):
        """Each hypothesis must be among the used facts, with the new symbols in it."""
        _must_keep_signs(self.meanings)
        self._must_not_capture()
        change = lambda side: replaced(sp.sympify(side), self.meanings)  # noqa: E731
        shown = [use.fact for use in used]
        needed = [fact.mapped(change) for fact in self.theorem.facts().values()]
        own = self.theorem.definition_facts().values()
        needed += [new for old in own if (new := old.mapped(change)) != old]
        needed = [fact for fact in needed if not fact.says_nothing]
        for fact in needed:
            if fact not in shown:
                raise StepError(f"{self.theorem.key} needs {fact.relation}")
        if any(fact not in needed for fact in shown) or any(use.images for use in used):
            raise StepError(f"{self.theorem.key} does not need all of this")
        if claim not in [goal.mapped(change) for goal in self.theorem.goals()]:
            raise StepError(f"{self.theorem.key} does not say {claim.relation}")

    def _must_not_capture(self) -> None:
        inside = {
            symbol
            for fact in (*self.theorem.facts().values(), *self.theorem.goals())
            for symbol in fact_indices(fact)
        }
        for image in self.meanings.values():
            if captured := _at(image).free_symbols & inside:
                raise StepError(f"{captured} would be captured in {self.theorem.key}")


@dataclass(frozen=True)
class ByAxiom(Rule):
    """An instance of a named axiom."""

    axiom: object

    @property
    def words(self) -> str:
        """The axiom's name."""
        return f"axiom: {self.axiom.name}"

    def derive(self, claim, used, fixed):
        """The axiom says what its instances are."""
        if used or claim.given:
            raise StepError("an axiom uses nothing")
        if not self.axiom.has_instance(claim):
            raise StepError(f"{claim.relation} is no instance of the axiom {self.axiom.name}")


# What the rules share.


@cache
def fact_symbols(fact: Fact) -> frozenset[sp.Symbol]:
    """All symbols of a fact that are not its indices, and those of its families."""
    sides = (fact.left, fact.right, *(x for _, low, high in fact.each for x in (low, high)))
    free = {symbol for side in sides for symbol in side.free_symbols}
    free |= {symbol for given in fact.given for symbol in fact_symbols(given)}
    return frozenset(free - {index for index, *_ in fact.each})


@cache
def fact_indices(fact: Fact) -> frozenset[sp.Symbol]:
    """The indices of a fact, and those of sums in it."""
    inner = bound_indices(fact.left) | bound_indices(fact.right)
    given = {index for other in fact.given for index in fact_indices(other)}
    return frozenset({index for index, *_ in fact.each} | inner | given)


def _instance(use: Used, claim: Fact, opened: dict, ranges: Ranges):
    """Both sides of a used fact at the indices of a claim; within the fact's own ranges."""
    images = {}
    for index, *_ in use.fact.each:
        images[index] = put(use.images.get(index, index), opened)
    free = {symbol for fact in use.fact.given for symbol in fact_symbols(fact)}
    for index in free & use.images.keys():
        raise StepError(f"{index} is fixed by what is supposed")
    if unknown := [index for index in use.images if index not in images]:
        raise StepError(f"{unknown[0]} is no index of {use.fact.relation}")
    if not within(images, use.fact.each, ranges):
        raise StepError(f"{use.fact.relation} is not known for these indices")
    return use.fact.at(images)


def _must_be_so_many(used: tuple[Used, ...], count: int) -> None:
    if len(used) != count:
        raise StepError(f"needs {count} facts, got {len(used)}")


def _plain_order(use: Used, claim: Fact) -> bool:
    """Whether a used fact is an inequality for exactly the indices of the claim."""
    return use.fact.sign in ("<=", ">=") and use.fact.each == claim.each and not use.images


def _put(index: sp.Symbol, image: sp.Expr) -> Callable[[sp.Expr], sp.Expr]:
    def change(side):
        return Fact(sp.sympify(side), "=", sp.S.Zero).at({index: sp.sympify(image)})[0]

    return change


def _must_be_alike(fact: Fact, other: Fact, what: str) -> None:
    """The same sign, ranges and suppositions, and sides that are equal by algebra."""
    if (fact.sign, fact.each) != (other.sign, other.each) or fact.given != other.given:
        raise StepError(f"{what} must be {other.relation}, for the same indices")
    for ours, theirs in ((fact.left, other.left), (fact.right, other.right)):
        difference, _ = Fact(ours - theirs, "=", sp.S.Zero, fact.each).opened()
        rest = normal(difference.left, difference.each)
        if not _is_zero(rest):
            raise StepError(rest)


def _remains(rest: sp.Expr, sign: str, ranges: Ranges):
    """What keeps a rest from being zero, or a sum of terms that are not negative; else None."""
    if sign == "=":
        return None if _is_zero(rest) else rest
    forms = [(rest, sp.S.One)]
    if _has_quotients(rest):
        forms.append(sp.fraction(sp.together(rest)))
    for above, below in forms:
        terms = sp.Add.make_args(expanded(_from_one(above)))
        if positive(below, ranges) and all(nonnegative(term, ranges) for term in terms):
            return None
    return None if _is_zero(rest) else rest


def _has_quotients(expression: sp.Expr) -> bool:
    """Whether two forms of it may differ although both are expanded."""
    powers = expression.atoms(sp.Pow, sp.exp)
    return any(not (x.exp.is_Integer and x.exp.is_positive) for x in powers)


def _from_one(expression: sp.Expr) -> sp.Expr:
    """The same with 1 + t, t ≥ 0, for each positive whole number such as L."""
    whole = [x for x in expression.free_symbols if x.is_Symbol and x.is_integer and x.is_positive]
    inside = {x for part in expression.atoms(sp.Sum, sp.Product) for x in part.free_symbols}
    fresh = {x: 1 + sp.Dummy(x.name, integer=True, nonnegative=True) for x in whole}
    return expression.xreplace({x: new for x, new in fresh.items() if x not in inside})


def _is_zero(rest: sp.Expr) -> bool:
    """Whether an expanded expression is zero, also over common denominators."""
    if rest == 0 or not rest.is_commutative or not _has_quotients(rest):
        return rest == 0
    return expanded(sp.powsimp(expanded(sp.fraction(sp.together(rest))[0]))) == 0


def _is_polynomial(side: sp.Expr, t: sp.Symbol, ranges: Ranges) -> bool:
    """Whether a side is made of t by sums, products and fixed powers that are not negative."""
    if not side.has(t) or side == t:
        return True
    if isinstance(side, sp.Pow):
        fine = not side.exp.has(t) and nonnegative(side.exp, ranges)
        return fine and _is_polynomial(side.base, t, ranges)
    if isinstance(side, sp.Sum | sp.Product):
        body, inner = entered(side)
        limits = inner[1].has(t) or inner[2].has(t)
        return not limits and _is_polynomial(body, t, (*ranges, inner))
    whole = isinstance(side, sp.Add | sp.Mul | sp.Max)
    return whole and all(_is_polynomial(part, t, ranges) for part in side.args)


def _at(image) -> sp.Expr:
    """An image; that of a family at indices of which nothing else is known."""
    if isinstance(image, sp.Basic) or not callable(image):
        return image[_any_index()] if isinstance(image, sp.IndexedBase) else sp.sympify(image)
    return sp.sympify(image(*[_any_index() for _ in range(image.__code__.co_argcount)]))


def _any_index() -> sp.Dummy:
    return sp.Dummy("at", integer=True, nonnegative=True)


def _must_keep_signs(meanings: dict) -> None:
    """What stands for a symbol must have the sign that the symbol has by declaration."""
    for old, new in meanings.items():
        old, image = _at(old), _at(new)
        if old.is_positive and not positive(image):
            raise StepError(f"{image} need not be positive, as {old} is")
        if old.is_nonnegative and not nonnegative(image):
            raise StepError(f"{image} need not be nonnegative, as {old} is")
        if old.is_integer and not image.is_integer:
            raise StepError(f"{image} need not be a whole number, as {old} is")
