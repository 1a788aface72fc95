"""What it takes to ask one model a few suites, in a line."""

from collections.abc import Sequence
from dataclasses import dataclass

from selflong.estimate.steps import Planner
from selflong.job import UserError
from selflong.placement.machines import choose_machine
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import Site
from selflong.recipe.weights import EndpointWeights


@dataclass(frozen=True)
class Cost:
    """Requests, tokens, and the hours or the money that they take."""

    requests: float
    prompt_tokens: float
    hours: float | None
    """None where the model's shape is not known."""
    unit: str
    usd: float | None
    """None for a model without a price; 0 for one that runs here."""

    def __str__(self) -> str:
        asked = f"{self.requests:,.0f} prompts of {self.prompt_tokens:,.0f} tokens together"
        if self.usd:
            return f"{asked}, about {self.usd:,.2f} USD"
        if self.usd is None:
            return f"{asked}; what they cost is not known without --price"
        if self.hours is None:
            return f"{asked}; the hours are not known, as the model's form is not"
        return f"{asked}, about {self.hours:,.1f} {self.unit}"


def cost_of_model(recipe: Recipe, site: Site, model: str, suites: Sequence[str]) -> Cost:
    """Of a model's last stage in `suites`, whether or not they were asked before."""
    machine = choose_machine(recipe, site)
    planner = Planner(recipe, site, machine)
    weights = recipe.models[model].weights
    loads = [load for name in suites for load in planner.loads_of(name, model)]
    requests = sum(load.requests for load in loads)
    prompt_tokens = sum(load.prompt_tokens for load in loads)
    unit = f"GPU hours on {machine.name}" if machine.has_gpus else "core hours"
    hours, usd = None, None
    try:
        steps = [planner.asked(name, recipe.suites[name], model) for name in suites]
        hours = sum(step.device_hours(machine) for step in steps)
        usd = sum(step.usd for step in steps)
    except UserError:  # of a shape that nobody here knows
        usd = 0.0
    if isinstance(weights, EndpointWeights) and weights.price is None:
        usd = None
    return Cost(requests, prompt_tokens, hours, unit, usd)
